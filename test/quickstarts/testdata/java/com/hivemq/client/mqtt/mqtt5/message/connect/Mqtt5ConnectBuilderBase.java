// What the Android page uses of this type of the HiveMQ MQTT client's public interface.
package com.hivemq.client.mqtt.mqtt5.message.connect;

import com.hivemq.client.mqtt.mqtt5.message.auth.Mqtt5SimpleAuthBuilder;

public interface Mqtt5ConnectBuilderBase<B extends Mqtt5ConnectBuilderBase<B>> {
    B cleanStart(boolean cleanStart);

    B sessionExpiryInterval(long sessionExpiryInterval);

    Mqtt5SimpleAuthBuilder.Nested<? extends B> simpleAuth();
}
