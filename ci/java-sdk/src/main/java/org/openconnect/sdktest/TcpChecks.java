package org.openconnect.sdktest;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.eventmesh.client.tcp.EventMeshTCPClient;
import org.openconnect.sdktest.Port.Publisher;
import org.openconnect.sdktest.Port.Subscriber;
import org.openconnect.sdktest.Port.Subscription;

/** What only the SDK's TCP client has, or does in its own way. */
record TcpChecks<M>(TcpPort<M> port) {
    void register(Checks checks) {
        String column = port.column();
        checks.works("broadcast(): sent without waiting for the answer", column, this::broadcast);
        checks.works("order per key between two subscribers", column, this::orderPerKey);
        checks.works("request that nobody replies to", column, this::noReply);
        checks.differs("asyncRR(): request with a callback", column,
            "the SDK never calls the callback; the reply comes to the handler of `registerPubBusiHandler`",
            this::asyncRequest);
        checks.works("a handler throws: the event comes again", column, this::handlerThrows);
        checks.works("subscribe again after unsubscribe", column, this::subscribeAgain);
        checks.differs("unsubscribe from one of two topics", column,
            "the SDK's `unsubscribe()` takes no topic and ends all of them", this::unsubscribeOne);
        checks.differs("close()", column,
            "the SDK interrupts its own thread on the way and leaves the subscriber half closed", this::close);
        checks.differs("wrong password", column,
            "`init()` returns, because the SDK does not look at the answer; every call after it fails",
            this::wrongPassword);
    }

    private void broadcast(String topic) throws Exception {
        Inbox<M> inbox = new Inbox<>();
        EventMeshTCPClient<M> publisher = port.client("java-publisher", "pub", "pass");
        try (Subscriber ignored = port.subscribe(Subscription.to(topic, topic).broadcasting(), inbox)) {
            for (int n = 0; n < 100; n++) {
                publisher.broadcast(port.kind().message(topic, "e" + n, "text"), 5000);
            }
            for (int n = 0; n < 100; n++) {
                Checks.equal("e" + n, port.kind().id(inbox.next()));
            }
        } finally {
            TcpPort.close(publisher);
        }
    }

    private void orderPerKey(String topic) throws Exception {
        Inbox<M> both = new Inbox<>();
        Port.Handler<M> slow = message -> {
            pause(1);
            return both.handle(message);
        };
        List<List<M>> keys = new ArrayList<>();
        for (int key = 0; key < 8; key++) {
            keys.add(new ArrayList<>());
            for (int n = 0; n < 100; n++) {
                keys.get(key).add(port.kind().message(topic, key + "-" + n, "text", "key" + key));
            }
        }
        try (Subscriber ignored = port.subscribe(Subscription.to(topic, topic), slow);
            Subscriber too = port.subscribe(Subscription.to(topic, topic), slow);
            Publisher<M> publisher = port.publisher()) {
            publisher.confirmedAll(keys);
            int[] next = new int[keys.size()];
            for (M message : both.next(800, 20)) {
                String[] id = port.kind().id(message).split("-");
                Checks.equal(next[Integer.parseInt(id[0])]++, Integer.valueOf(id[1]));
            }
            both.nothing(1);
        }
    }

    private void noReply(String topic) throws Exception {
        try (Publisher<M> asker = port.publisher()) {
            Checks.fails("the request", unused ->
                asker.request(port.kind().message(topic, "question", "text"), 1000));
            asker.confirmed(port.kind().message(topic, "event", "text"));
        }
    }

    private void asyncRequest(String topic) throws Exception {
        Inbox<M> replies = new Inbox<>();
        AtomicBoolean called = new AtomicBoolean();
        EventMeshTCPClient<M> asker = port.client("java-publisher", "pub", "pass");
        asker.registerPubBusiHandler(replies::handle);
        try (Subscriber ignored = port.subscribe(Subscription.to(topic, topic).replying(),
            question -> Optional.of(port.kind().message(topic, "reply", "re: " + port.kind().text(question))))) {
            asker.asyncRR(port.kind().message(topic, "question", "question"), reply -> called.set(true), 5000);
            Checks.equal("re: question", port.kind().text(replies.next()));
            pause(500);
            Checks.that(!called.get(), "the callback was called");
        } finally {
            TcpPort.close(asker);
        }
    }

    /** The SDK closes the connection then, so that another member of the group gets the event. */
    private void handlerThrows(String topic) throws Exception {
        CountDownLatch thrown = new CountDownLatch(1);
        Inbox<M> other = new Inbox<>();
        try (Subscriber ignored = port.subscribe(Subscription.to(topic, topic), message -> {
            thrown.countDown();
            throw new IllegalStateException("as a handler might");
        }); Publisher<M> publisher = port.publisher()) {
            publisher.confirmed(port.kind().message(topic, "event", "text"));
            Checks.that(thrown.await(20, TimeUnit.SECONDS), "the handler was not called");
            try (Subscriber too = port.subscribe(Subscription.to(topic, topic), other)) {
                Checks.equal("event", port.kind().id(other.next()));
            }
        }
    }

    private void subscribeAgain(String topic) throws Exception {
        Inbox<M> inbox = new Inbox<>();
        try (Subscriber subscriber = port.subscribe(Subscription.to(topic, topic), inbox);
            Publisher<M> publisher = port.publisher()) {
            subscriber.unsubscribe();
            publisher.confirmed(port.kind().message(topic, "meanwhile", "text"));
            inbox.nothing(1);
            subscriber.subscribeAgain();
            Checks.equal("meanwhile", port.kind().id(inbox.next()));
        }
    }

    private void unsubscribeOne(String topic) throws Exception {
        Inbox<M> inbox = new Inbox<>();
        try (Subscriber subscriber = port.subscribe(Subscription.to(topic, topic, topic + "-too"), inbox);
            Publisher<M> publisher = port.publisher()) {
            subscriber.unsubscribe();
            publisher.confirmed(port.kind().message(topic, "one", "text"));
            publisher.confirmed(port.kind().message(topic + "-too", "two", "text"));
            inbox.nothing(1);
        }
    }

    private void close(String topic) throws Exception {
        EventMeshTCPClient<M> client = port.client(topic, "sub", "pass");
        client.close();
        boolean interrupted = Thread.interrupted();
        try {
            Checks.that(interrupted || stillAnswers(client), "it is closed");
        } finally {
            TcpPort.close(client);
        }
    }

    private static boolean stillAnswers(EventMeshTCPClient<?> client) {
        try {
            client.unsubscribe();
            return true;
        } catch (RuntimeException closed) {
            return false;
        }
    }

    private void wrongPassword(String topic) throws Exception {
        EventMeshTCPClient<M> client = port.client(topic, "sub", "wrong");
        try {
            Checks.fails("publish", unused -> client.publish(port.kind().message(topic, "event", "text"), 2000));
        } finally {
            TcpPort.close(client);
        }
    }

    private static void pause(long millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException interrupted) {
            throw new IllegalStateException(interrupted);
        }
    }
}
