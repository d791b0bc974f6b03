package org.openconnect.sdktest;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.eventmesh.client.grpc.config.EventMeshGrpcClientConfig;
import org.apache.eventmesh.client.grpc.consumer.EventMeshGrpcConsumer;
import org.apache.eventmesh.client.grpc.consumer.ReceiveMsgHook;
import org.apache.eventmesh.client.grpc.producer.EventMeshGrpcProducer;
import org.apache.eventmesh.common.enums.EventMeshProtocolType;
import org.apache.eventmesh.common.protocol.SubscriptionItem;
import org.apache.eventmesh.common.protocol.grpc.common.Response;

/** The SDK's gRPC producer and consumer. */
record GrpcPort<M>(String column, int port, EventMeshProtocolType type, Kind<M> kind) implements Port<M> {
    static final EventMeshProtocolType CLOUD_EVENTS = EventMeshProtocolType.CLOUD_EVENTS;
    static final EventMeshProtocolType MESSAGES = EventMeshProtocolType.EVENT_MESH_MESSAGE;
    private static final int BATCH = 100;
    private static final AtomicInteger CONSUMERS = new AtomicInteger();

    private static EventMeshGrpcClientConfig config(int port, String group, String password, String sys) {
        return EventMeshGrpcClientConfig.builder().serverAddr("127.0.0.1").serverPort(port).env("test").idc("FT")
            .sys(sys).userName("user").password(password).consumerGroup(group).producerGroup(group).build();
    }

    EventMeshGrpcProducer producer(String password) {
        return new EventMeshGrpcProducer(config(port, "java-publisher", password, "java"));
    }

    /** A server tells consumers apart by group, address, process and system; here only the last can be another one. */
    EventMeshGrpcConsumer consumer(String group, Handler<M> handler) {
        EventMeshGrpcConsumer consumer =
            new EventMeshGrpcConsumer(config(port, group, "pass", "java-" + CONSUMERS.incrementAndGet()));
        consumer.init();
        consumer.registerListener(new ReceiveMsgHook<M>() {
            @Override
            public Optional<M> handle(M message) {
                return handler.handle(message);
            }

            @Override
            public EventMeshProtocolType getProtocolType() {
                return type;
            }
        });
        return consumer;
    }

    static List<SubscriptionItem> items(Subscription to) {
        return to.topics().stream().map(topic -> new SubscriptionItem(topic, to.mode(), to.type())).toList();
    }

    /** The SDK gives null when the call itself failed. */
    static Answer answer(Response response) {
        return response == null ? new Answer(false, "no answer")
            : new Answer("0".equals(response.getRespCode()), response.getRespCode() + " " + response.getRespMsg());
    }

    @Override
    public Publisher<M> publisher(String password) {
        EventMeshGrpcProducer producer = producer(password);
        return new Publisher<>() {
            @Override
            public Answer publish(M message) {
                return answer(producer.publish(message));
            }

            @Override
            public void confirmedAll(List<List<M>> lanes) {
                for (List<M> lane : lanes) {
                    for (int at = 0; at < lane.size(); at += BATCH) {
                        List<M> batch = new ArrayList<>(lane.subList(at, Math.min(at + BATCH, lane.size())));
                        Answer answer = answer(producer.publish(batch));
                        Checks.that(answer.confirmed(), "not confirmed: " + answer.text());
                    }
                }
            }

            @Override
            public M request(M question, long timeoutMillis) {
                return producer.requestReply(question, timeoutMillis);
            }

            @Override
            public void close() {
                producer.close();
            }
        };
    }

    @Override
    public Subscriber subscribe(Subscription to, Handler<M> handler) {
        EventMeshGrpcConsumer consumer = consumer(to.group(), handler);
        consumer.subscribe(items(to));
        return new Subscriber() {
            @Override
            public void unsubscribe() {
                Answer answer = answer(consumer.unsubscribe(items(to)));
                Checks.that(answer.confirmed(), answer.text());
            }

            @Override
            public void subscribeAgain() {
                consumer.subscribe(items(to));
            }

            @Override
            public void close() {
                consumer.close();
            }
        };
    }
}
