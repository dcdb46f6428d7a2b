// What the Android page uses of this type of the HiveMQ MQTT client's public interface.
package com.hivemq.client.mqtt.mqtt5.message.publish.puback;

import com.hivemq.client.mqtt.mqtt5.datatypes.Mqtt5UserProperties;

public interface Mqtt5PubAck {
    Mqtt5UserProperties getUserProperties();
}
