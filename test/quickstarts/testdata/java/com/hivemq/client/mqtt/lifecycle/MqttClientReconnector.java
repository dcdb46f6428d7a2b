// What the Android page uses of this type of the HiveMQ MQTT client's public interface.
package com.hivemq.client.mqtt.lifecycle;

public interface MqttClientReconnector {
    boolean isReconnect();
}
