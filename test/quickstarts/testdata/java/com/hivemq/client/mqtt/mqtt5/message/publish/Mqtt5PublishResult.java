// What the Android page uses of this type of the HiveMQ MQTT client's public interface.
package com.hivemq.client.mqtt.mqtt5.message.publish;

import com.hivemq.client.mqtt.mqtt5.message.publish.puback.Mqtt5PubAck;

public interface Mqtt5PublishResult {
    interface Mqtt5Qos1Result extends Mqtt5PublishResult {
        Mqtt5PubAck getPubAck();
    }
}
