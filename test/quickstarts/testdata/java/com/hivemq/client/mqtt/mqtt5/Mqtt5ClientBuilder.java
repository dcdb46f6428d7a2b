// What the Android page uses of this type of the HiveMQ MQTT client's public interface.
package com.hivemq.client.mqtt.mqtt5;

import com.hivemq.client.mqtt.MqttClientBuilderBase;

public interface Mqtt5ClientBuilder extends MqttClientBuilderBase<Mqtt5ClientBuilder> {
    Mqtt5AsyncClient buildAsync();
}
