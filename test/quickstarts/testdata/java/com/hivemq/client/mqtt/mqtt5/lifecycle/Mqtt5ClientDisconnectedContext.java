// What the Android page uses of this type of the HiveMQ MQTT client's public interface.
package com.hivemq.client.mqtt.mqtt5.lifecycle;

import com.hivemq.client.mqtt.lifecycle.MqttClientDisconnectedContext;

public interface Mqtt5ClientDisconnectedContext extends MqttClientDisconnectedContext {
    @Override
    Mqtt5ClientReconnector getReconnector();
}
