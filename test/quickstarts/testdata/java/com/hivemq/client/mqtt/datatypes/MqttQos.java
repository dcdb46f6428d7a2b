// What the Android page uses of this type of the HiveMQ MQTT client's public interface.
package com.hivemq.client.mqtt.datatypes;

public enum MqttQos { AT_MOST_ONCE, AT_LEAST_ONCE, EXACTLY_ONCE }
