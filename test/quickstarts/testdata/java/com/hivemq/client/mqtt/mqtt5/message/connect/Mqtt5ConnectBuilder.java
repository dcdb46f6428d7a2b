// What the Android page uses of this type of the HiveMQ MQTT client's public interface.
package com.hivemq.client.mqtt.mqtt5.message.connect;

public interface Mqtt5ConnectBuilder extends Mqtt5ConnectBuilderBase<Mqtt5ConnectBuilder> {
    interface Nested<P> extends Mqtt5ConnectBuilderBase<Nested<P>> {
        P applyConnect();
    }

    interface Send<P> extends Mqtt5ConnectBuilderBase<Send<P>> {
        P send();
    }
}
