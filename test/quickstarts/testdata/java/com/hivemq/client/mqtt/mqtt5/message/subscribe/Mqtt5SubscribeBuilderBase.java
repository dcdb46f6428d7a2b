// What the Android page uses of this type of the HiveMQ MQTT client's public interface.
package com.hivemq.client.mqtt.mqtt5.message.subscribe;

public interface Mqtt5SubscribeBuilderBase<C> {
    Mqtt5SubscriptionBuilder.Nested<? extends C> addSubscription();
}
