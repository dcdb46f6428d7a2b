// What the Android page uses of this type of the HiveMQ MQTT client's public interface.
package com.hivemq.client.mqtt;

import com.hivemq.client.mqtt.lifecycle.MqttClientDisconnectedListener;

public interface MqttClientBuilderBase<B extends MqttClientBuilderBase<B>> {
    B identifier(String identifier);

    B serverHost(String host);

    B serverPort(int port);

    B sslWithDefaultConfig();

    B automaticReconnectWithDefaultConfig();

    B addDisconnectedListener(MqttClientDisconnectedListener listener);
}
