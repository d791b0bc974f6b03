package org.openconnect.sdktest;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.eventmesh.client.grpc.consumer.EventMeshGrpcConsumer;
import org.apache.eventmesh.client.grpc.producer.EventMeshGrpcProducer;
import org.openconnect.sdktest.Port.Answer;
import org.openconnect.sdktest.Port.Publisher;
import org.openconnect.sdktest.Port.Subscriber;
import org.openconnect.sdktest.Port.Subscription;

/** What only the SDK's gRPC producer and consumer have, or do in their own way. */
record GrpcChecks<M>(GrpcPort<M> port) {
    void register(Checks checks) {
        String column = port.column();
        checks.works("publish(list): a batch", column, this::batch);
        checks.works("publish(list): refused as a whole when one event is", column, this::refusedBatch);
        checks.differs("request that nobody replies to", column,
            "the SDK gives back the question itself, with `statuscode` 22, and does not fail", this::noReply);
        checks.differs("a handler throws: the event comes again", column,
            "the SDK's stream has no acknowledgements; the exception is swallowed and the event counts as consumed",
            this::handlerThrows);
        checks.differs("subscribe again after unsubscribe", column,
            "the SDK goes on with the stream that it has ended, and says nothing; a new consumer is needed",
            this::subscribeAgain);
        checks.works("unsubscribe from one of two topics", column, this::unsubscribeOne);
        checks.works("wrong password", column, this::wrongPassword);
        checks.differs("subscribe(items, url): a webhook", column,
            "refused with code 9: the mesh delivers over connections only", this::webhook);
    }

    private M message(String topic, String id) {
        return port.kind().message(topic, id, "text " + id);
    }

    private void batch(String topic) throws Exception {
        Inbox<M> inbox = new Inbox<>();
        EventMeshGrpcProducer producer = port.producer("pass");
        try (Subscriber ignored = port.subscribe(Subscription.to(topic, topic), inbox)) {
            List<M> batch = new ArrayList<>();
            for (int n = 0; n < 50; n++) {
                batch.add(message(topic, "e" + n));
            }
            Answer answer = GrpcPort.answer(producer.publish(batch));
            Checks.that(answer.confirmed(), answer.text());
            for (int n = 0; n < 50; n++) {
                Checks.equal("e" + n, port.kind().id(inbox.next()));
            }
            inbox.nothing(1);
        } finally {
            producer.close();
        }
    }

    private void refusedBatch(String topic) throws Exception {
        Inbox<M> inbox = new Inbox<>();
        EventMeshGrpcProducer producer = port.producer("pass");
        try (Subscriber ignored = port.subscribe(Subscription.to(topic, topic), inbox)) {
            List<M> batch = new ArrayList<>(List.of(message(topic, "good"), message("", "without a topic")));
            Answer answer = GrpcPort.answer(producer.publish(batch));
            Checks.that(!answer.confirmed(), "it was confirmed");
            inbox.nothing(1);
        } finally {
            producer.close();
        }
    }

    private void noReply(String topic) throws Exception {
        EventMeshGrpcProducer asker = port.producer("pass");
        try {
            M question = shortLived(topic);
            M back = asker.requestReply(question, 10_000);
            Checks.that(back != null, "nothing was given back");
            Checks.equal("question", port.kind().text(back));
            Checks.equal("22", attribute(back, "statuscode"));
        } finally {
            asker.close();
        }
    }

    @SuppressWarnings("unchecked")
    private M shortLived(String topic) {
        M question = port.kind().message(topic, "question", "question");
        if (question instanceof io.cloudevents.CloudEvent event) {
            return (M) io.cloudevents.core.builder.CloudEventBuilder.from(event).withExtension("ttl", "500").build();
        }
        ((org.apache.eventmesh.common.EventMeshMessage) question).addProp("ttl", "500");
        return question;
    }

    private Object attribute(M message, String name) {
        return message instanceof io.cloudevents.CloudEvent event ? event.getExtension(name)
            : ((org.apache.eventmesh.common.EventMeshMessage) message).getProp(name);
    }

    private void handlerThrows(String topic) throws Exception {
        CountDownLatch thrown = new CountDownLatch(1);
        Inbox<M> other = new Inbox<>();
        try (Publisher<M> publisher = port.publisher()) {
            try (Subscriber subscriber = port.subscribe(Subscription.to(topic, topic), message -> {
                thrown.countDown();
                throw new IllegalStateException("as a handler might");
            })) {
                publisher.confirmed(message(topic, "event"));
                Checks.that(thrown.await(20, TimeUnit.SECONDS), "the handler was not called");
                subscriber.unsubscribe();
            }
            publisher.confirmed(message(topic, "next"));
            try (Subscriber ignored = port.subscribe(Subscription.to(topic, topic), other)) {
                Checks.equal("next", port.kind().id(other.next()));
            }
        }
    }

    private void subscribeAgain(String topic) throws Exception {
        Inbox<M> inbox = new Inbox<>();
        Inbox<M> fresh = new Inbox<>();
        try (Publisher<M> publisher = port.publisher()) {
            try (Subscriber subscriber = port.subscribe(Subscription.to(topic, topic), inbox)) {
                publisher.confirmed(message(topic, "before"));
                inbox.next();
                subscriber.unsubscribe();
                publisher.confirmed(message(topic, "meanwhile"));
                subscriber.subscribeAgain();
                inbox.nothing(2);
            }
            try (Subscriber ignored = port.subscribe(Subscription.to(topic, topic), fresh)) {
                Checks.equal("meanwhile", port.kind().id(fresh.next()));
            }
        }
    }

    private void unsubscribeOne(String topic) throws Exception {
        Inbox<M> inbox = new Inbox<>();
        EventMeshGrpcConsumer consumer = port.consumer(topic, inbox);
        try (Publisher<M> publisher = port.publisher()) {
            consumer.subscribe(GrpcPort.items(Subscription.to(topic, topic, topic + "-too")));
            publisher.confirmed(message(topic, "one"));
            publisher.confirmed(message(topic + "-too", "two"));
            inbox.next(2, 20);
            Answer answer = GrpcPort.answer(consumer.unsubscribe(GrpcPort.items(Subscription.to(topic, topic))));
            Checks.that(answer.confirmed(), answer.text());
            publisher.confirmed(message(topic, "not"));
            publisher.confirmed(message(topic + "-too", "still"));
            Checks.equal("still", port.kind().id(inbox.next()));
            inbox.nothing(1);
        } finally {
            consumer.close();
        }
    }

    private void wrongPassword(String topic) {
        try (Publisher<M> publisher = port.publisher("wrong")) {
            Answer answer = publisher.publish(message(topic, "event"));
            Checks.that(!answer.confirmed() && answer.text().startsWith("20 "), "answered: " + answer.text());
        }
    }

    private void webhook(String topic) {
        EventMeshGrpcConsumer consumer = port.consumer(topic, new Inbox<>());
        try {
            Answer answer = GrpcPort.answer(
                consumer.subscribe(GrpcPort.items(Subscription.to(topic, topic)), "http://127.0.0.1:1/events"));
            Checks.that(answer.text().startsWith("9 "), "answered: " + answer.text());
        } finally {
            consumer.close();
        }
    }
}
