// What the Android page uses of this type of the HiveMQ MQTT client's public interface.
package com.hivemq.client.mqtt.mqtt5.datatypes;

import com.hivemq.client.mqtt.datatypes.MqttUtf8String;

public interface Mqtt5UserProperty {
    MqttUtf8String getName();

    MqttUtf8String getValue();
}
