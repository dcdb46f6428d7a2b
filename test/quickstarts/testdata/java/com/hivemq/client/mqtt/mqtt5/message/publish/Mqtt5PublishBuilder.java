// What the Android page uses of this type of the HiveMQ MQTT client's public interface.
package com.hivemq.client.mqtt.mqtt5.message.publish;

public interface Mqtt5PublishBuilder {
    interface Send<P> extends Mqtt5PublishBuilderBase<Send.Complete<P>> {
        interface Complete<P> extends Send<P>, Mqtt5PublishBuilderBase.Complete<Send.Complete<P>> {
            P send();
        }
    }
}
