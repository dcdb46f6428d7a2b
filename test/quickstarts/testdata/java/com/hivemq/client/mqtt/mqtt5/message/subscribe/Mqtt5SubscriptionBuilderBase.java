// What the Android page uses of this type of the HiveMQ MQTT client's public interface.
package com.hivemq.client.mqtt.mqtt5.message.subscribe;

import com.hivemq.client.mqtt.datatypes.MqttQos;

public interface Mqtt5SubscriptionBuilderBase<C extends Mqtt5SubscriptionBuilderBase.Complete<C>> {
    C topicFilter(String topicFilter);

    interface Complete<C extends Mqtt5SubscriptionBuilderBase.Complete<C>> extends Mqtt5SubscriptionBuilderBase<C> {
        C qos(MqttQos qos);
    }
}
