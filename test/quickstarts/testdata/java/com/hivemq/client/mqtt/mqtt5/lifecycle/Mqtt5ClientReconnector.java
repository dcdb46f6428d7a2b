// What the Android page uses of this type of the HiveMQ MQTT client's public interface.
package com.hivemq.client.mqtt.mqtt5.lifecycle;

import com.hivemq.client.mqtt.lifecycle.MqttClientReconnector;
import com.hivemq.client.mqtt.mqtt5.message.connect.Mqtt5ConnectBuilder;
import java.util.concurrent.CompletableFuture;
import java.util.function.BiConsumer;

public interface Mqtt5ClientReconnector extends MqttClientReconnector {
    <T> Mqtt5ClientReconnector reconnectWhen(CompletableFuture<T> future, BiConsumer<? super T, ? super Throwable> callback);

    Mqtt5ConnectBuilder.Nested<? extends Mqtt5ClientReconnector> connectWith();
}
