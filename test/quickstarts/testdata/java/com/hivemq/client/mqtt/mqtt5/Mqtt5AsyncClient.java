// What the Android page uses of this type of the HiveMQ MQTT client's public interface.
package com.hivemq.client.mqtt.mqtt5;

import com.hivemq.client.mqtt.MqttGlobalPublishFilter;
import com.hivemq.client.mqtt.mqtt5.message.connect.Mqtt5ConnectBuilder;
import com.hivemq.client.mqtt.mqtt5.message.connect.connack.Mqtt5ConnAck;
import com.hivemq.client.mqtt.mqtt5.message.publish.Mqtt5Publish;
import com.hivemq.client.mqtt.mqtt5.message.publish.Mqtt5PublishBuilder;
import com.hivemq.client.mqtt.mqtt5.message.publish.Mqtt5PublishResult;
import com.hivemq.client.mqtt.mqtt5.message.subscribe.Mqtt5SubscribeBuilderBase;
import com.hivemq.client.mqtt.mqtt5.message.subscribe.suback.Mqtt5SubAck;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;

public interface Mqtt5AsyncClient extends Mqtt5Client {
    Mqtt5ConnectBuilder.Send<CompletableFuture<Mqtt5ConnAck>> connectWith();

    Mqtt5SubscribeAndCallbackBuilder.Start subscribeWith();

    void publishes(MqttGlobalPublishFilter filter, Consumer<Mqtt5Publish> callback);

    Mqtt5PublishBuilder.Send<CompletableFuture<Mqtt5PublishResult>> publishWith();

    CompletableFuture<Void> disconnect();

    interface Mqtt5SubscribeAndCallbackBuilder extends Mqtt5SubscribeBuilderBase<Mqtt5SubscribeAndCallbackBuilder.Complete> {
        interface Complete extends Mqtt5SubscribeAndCallbackBuilder {
            CompletableFuture<Mqtt5SubAck> send();
        }

        interface Start extends Mqtt5SubscribeAndCallbackBuilder {}
    }
}
