package org.openconnect.sdktest;

import io.cloudevents.CloudEvent;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.function.Function;
import org.apache.eventmesh.client.grpc.config.EventMeshGrpcClientConfig;
import org.apache.eventmesh.client.grpc.consumer.EventMeshGrpcConsumer;
import org.apache.eventmesh.client.grpc.consumer.ReceiveMsgHook;
import org.apache.eventmesh.client.grpc.producer.EventMeshGrpcProducer;
import org.apache.eventmesh.common.enums.EventMeshProtocolType;
import org.apache.eventmesh.common.protocol.SubscriptionItem;
import org.apache.eventmesh.common.protocol.SubscriptionMode;
import org.apache.eventmesh.common.protocol.SubscriptionType;
import org.apache.eventmesh.common.protocol.grpc.common.Response;

/** Publish, batch, subscribe over a stream, request and reply, unsubscribe. */
final class OverGrpc {
    private static final String JSON = "application/json";
    private final int port;

    OverGrpc(int port) {
        this.port = port;
    }

    void run(Checks checks) {
        checks.check("grpc publish, batch, subscribe, unsubscribe", this::publishAndSubscribe);
        checks.check("grpc request and reply", this::requestAndReply);
    }

    private EventMeshGrpcClientConfig config(String group) {
        return EventMeshGrpcClientConfig.builder().serverAddr("127.0.0.1").serverPort(port).env("test").idc("FT")
            .sys("1234").userName("user").password("pass").consumerGroup(group).producerGroup(group).build();
    }

    private EventMeshGrpcConsumer consumer(String group, Function<CloudEvent, Optional<CloudEvent>> handle) {
        EventMeshGrpcConsumer consumer = new EventMeshGrpcConsumer(config(group));
        consumer.init();
        consumer.registerListener(new ReceiveMsgHook<CloudEvent>() {
            @Override
            public Optional<CloudEvent> handle(CloudEvent event) {
                return handle.apply(event);
            }

            @Override
            public EventMeshProtocolType getProtocolType() {
                return EventMeshProtocolType.CLOUD_EVENTS;
            }
        });
        return consumer;
    }

    private static void succeeded(Response response) {
        if (response == null || !"0".equals(response.getRespCode())) {
            throw new AssertionError("answered: " + response);
        }
    }

    private void publishAndSubscribe() throws Exception {
        BlockingQueue<CloudEvent> got = new LinkedBlockingQueue<>();
        List<SubscriptionItem> items =
            List.of(new SubscriptionItem("java-grpc", SubscriptionMode.CLUSTERING, SubscriptionType.ASYNC));
        try (EventMeshGrpcConsumer consumer = consumer("java-grpc", event -> {
            got.add(event);
            return Optional.empty();
        }); EventMeshGrpcProducer producer = new EventMeshGrpcProducer(config("java-pub"))) {
            consumer.subscribe(items);
            for (int n = 0; n < 10; n++) {
                succeeded(producer.publish(Events.event("java-grpc", "grpc-" + n, JSON, "{\"n\":" + n + "}")));
            }
            List<CloudEvent> batch = new ArrayList<>();
            for (int n = 10; n < 20; n++) {
                batch.add(Events.event("java-grpc", "grpc-" + n, JSON, "{\"n\":" + n + "}"));
            }
            succeeded(producer.publish(batch));
            for (int n = 0; n < 20; n++) {
                CloudEvent event = Checks.next(got);
                Checks.equal("grpc-" + n, event.getId());
                Checks.equal("{\"n\":" + n + "}", Events.data(event));
            }
            succeeded(consumer.unsubscribe(items));
            succeeded(producer.publish(Events.event("java-grpc", "late", JSON, "{}")));
            Checks.nothing(got);
        }
    }

    private void requestAndReply() throws Exception {
        List<SubscriptionItem> items =
            List.of(new SubscriptionItem("java-grpc-rr", SubscriptionMode.CLUSTERING, SubscriptionType.SYNC));
        try (EventMeshGrpcConsumer replier = consumer("java-grpc-rr",
                event -> Optional.of(Events.event("java-grpc-rr", "answer", JSON, "{\"answer\":42}")));
            EventMeshGrpcProducer asker = new EventMeshGrpcProducer(config("java-pub"))) {
            replier.subscribe(items);
            CloudEvent answer = asker.requestReply(Events.event("java-grpc-rr", "question", JSON, "{\"ask\":1}"), 5000);
            Checks.equal("{\"answer\":42}", Events.data(answer));
        }
    }
}
