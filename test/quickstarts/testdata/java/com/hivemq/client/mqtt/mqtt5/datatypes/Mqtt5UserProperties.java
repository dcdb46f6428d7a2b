// What the Android page uses of this type of the HiveMQ MQTT client's public interface.
package com.hivemq.client.mqtt.mqtt5.datatypes;

import java.util.List;

public interface Mqtt5UserProperties {
    List<? extends Mqtt5UserProperty> asList();
}
