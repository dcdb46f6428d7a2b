// What the Android page uses of this type of the HiveMQ MQTT client's public interface.
package com.hivemq.client.mqtt.mqtt5.message.connect.connack;

public interface Mqtt5ConnAck {}
