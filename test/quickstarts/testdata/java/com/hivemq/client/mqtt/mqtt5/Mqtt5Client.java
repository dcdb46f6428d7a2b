// What the Android page uses of this type of the HiveMQ MQTT client's public interface.
package com.hivemq.client.mqtt.mqtt5;

public interface Mqtt5Client {
    static Mqtt5ClientBuilder builder() {
        throw new UnsupportedOperationException();
    }
}
