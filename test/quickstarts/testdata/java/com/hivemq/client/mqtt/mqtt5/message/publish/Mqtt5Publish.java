// What the Android page uses of this type of the HiveMQ MQTT client's public interface.
package com.hivemq.client.mqtt.mqtt5.message.publish;

import com.hivemq.client.mqtt.datatypes.MqttTopic;

public interface Mqtt5Publish {
    MqttTopic getTopic();

    byte[] getPayloadAsBytes();
}
