// What the Android page uses of this type of the HiveMQ MQTT client's public interface.
package com.hivemq.client.mqtt.mqtt5.message.subscribe;

public interface Mqtt5SubscriptionBuilder {
    interface Nested<P> extends Mqtt5SubscriptionBuilderBase<Nested.Complete<P>> {
        interface Complete<P> extends Nested<P>, Mqtt5SubscriptionBuilderBase.Complete<Nested.Complete<P>> {
            P applySubscription();
        }
    }
}
