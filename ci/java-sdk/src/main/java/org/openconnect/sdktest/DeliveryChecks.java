package org.openconnect.sdktest;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.openconnect.sdktest.Port.Publisher;
import org.openconnect.sdktest.Port.Subscriber;
import org.openconnect.sdktest.Port.Subscription;

/** Who gets which events, how often, and in which order. */
record DeliveryChecks<M>(Port<M> port) {
    private static final int MANY = 10_000;
    private static final int LANES = 50;
    private static final int KEYS = 10;

    void register(Checks checks) {
        String column = port.column();
        checks.works("publish, subscribe CLUSTERING: in order, each once", column, this::publishAndSubscribe);
        checks.works("subscribe BROADCASTING: every member of the group gets every event", column, this::broadcasting);
        checks.works("several subscribers in a group share its events", column, this::sharing);
        checks.works("several groups: each gets its own copy", column, this::groups);
        checks.works("subscribe to two topics", column, this::twoTopics);
        checks.works("10,000 events: each once, in order per publisher", column, this::many);
        checks.works("request and reply", column, this::requestAndReply);
    }

    private Kind<M> kind() {
        return port.kind();
    }

    private List<String> publish(Publisher<M> publisher, String topic, String prefix, int count) {
        List<String> ids = new ArrayList<>();
        for (int n = 0; n < count; n++) {
            String id = prefix + n;
            publisher.confirmed(kind().message(topic, id, "text " + id));
            ids.add(id);
        }
        return ids;
    }

    private List<String> ids(List<M> messages) {
        return messages.stream().map(kind()::id).toList();
    }

    private void publishAndSubscribe(String topic) throws Exception {
        Inbox<M> inbox = new Inbox<>();
        try (Subscriber ignored = port.subscribe(Subscription.to(topic, topic), inbox);
            Publisher<M> publisher = port.publisher()) {
            List<String> sent = publish(publisher, topic, "e", 20);
            List<M> got = inbox.next(20, 20);
            Checks.equal(sent, ids(got));
            Checks.equal("text e7", kind().text(got.get(7)));
            // Acknowledgements follow the handler; the group must not get anything again.
            inbox.nothing(1);
        }
        Inbox<M> again = new Inbox<>();
        try (Subscriber ignored = port.subscribe(Subscription.to(topic, topic), again)) {
            again.nothing(1);
        }
    }

    private void broadcasting(String topic) throws Exception {
        Inbox<M> first = new Inbox<>();
        Inbox<M> second = new Inbox<>();
        Subscription to = Subscription.to(topic, topic).broadcasting();
        try (Subscriber ignored = port.subscribe(to, first); Subscriber too = port.subscribe(to, second);
            Publisher<M> publisher = port.publisher()) {
            // A broadcast begins with the subscription, which over gRPC nobody tells the subscriber of.
            for (int n = 0; first.isEmpty() || second.isEmpty(); n++) {
                Checks.that(n < 500, "a subscriber got nothing");
                publish(publisher, topic, "probe" + n + "-", 1);
                Thread.sleep(10);
            }
            List<String> sent = publish(publisher, topic, "e", 20);
            for (Inbox<M> inbox : List.of(first, second)) {
                M next = inbox.next();
                while (kind().id(next).startsWith("probe")) {
                    next = inbox.next();
                }
                List<String> got = new ArrayList<>(List.of(kind().id(next)));
                got.addAll(ids(inbox.next(19, 20)));
                Checks.equal(sent, got);
            }
        }
    }

    private void sharing(String topic) throws Exception {
        Inbox<M> first = new Inbox<>();
        Inbox<M> second = new Inbox<>();
        Subscription to = Subscription.to(topic, topic);
        try (Subscriber ignored = port.subscribe(to, first); Subscriber too = port.subscribe(to, second);
            Publisher<M> publisher = port.publisher()) {
            Set<String> sent = new HashSet<>();
            for (int round = 0; first.isEmpty() || second.isEmpty(); round++) {
                Checks.that(round < 200, "one of the two got nothing");
                sent.addAll(publish(publisher, topic, round + "-", 20));
                Thread.sleep(10);
            }
            List<String> got = new ArrayList<>();
            for (int waited = 0; first.size() + second.size() < sent.size() && waited < 200; waited++) {
                Thread.sleep(100);
            }
            got.addAll(ids(first.next(first.size(), 1)));
            got.addAll(ids(second.next(second.size(), 1)));
            Checks.equal(sent.size(), got.size());
            Checks.equal(sent, new HashSet<>(got));
            first.nothing(1);
            second.nothing(0);
        }
    }

    private void groups(String topic) throws Exception {
        Inbox<M> first = new Inbox<>();
        Inbox<M> second = new Inbox<>();
        try (Subscriber ignored = port.subscribe(Subscription.to(topic + "-1", topic), first);
            Subscriber too = port.subscribe(Subscription.to(topic + "-2", topic), second);
            Publisher<M> publisher = port.publisher()) {
            List<String> sent = publish(publisher, topic, "e", 20);
            Checks.equal(sent, ids(first.next(20, 20)));
            Checks.equal(sent, ids(second.next(20, 20)));
        }
    }

    private void twoTopics(String topic) throws Exception {
        Inbox<M> inbox = new Inbox<>();
        try (Subscriber ignored = port.subscribe(Subscription.to(topic, topic, topic + "-too"), inbox);
            Publisher<M> publisher = port.publisher()) {
            publish(publisher, topic, "one", 1);
            publish(publisher, topic + "-too", "two", 1);
            Checks.equal(Set.of("one0", "two0"), new HashSet<>(ids(inbox.next(2, 20))));
        }
    }

    private void many(String topic) throws Exception {
        Inbox<M> inbox = new Inbox<>();
        List<List<M>> lanes = new ArrayList<>();
        for (int lane = 0; lane < LANES; lane++) {
            lanes.add(new ArrayList<>());
            for (int n = 0; n < MANY / LANES; n++) {
                lanes.get(lane).add(kind().message(topic, lane + "-" + n, "text", "key" + n % KEYS));
            }
        }
        try (Subscriber ignored = port.subscribe(Subscription.to(topic, topic), inbox);
            Publisher<M> publisher = port.publisher()) {
            publisher.confirmedAll(lanes);
            Map<String, Integer> next = new HashMap<>();
            for (M message : inbox.next(MANY, 20)) {
                String[] id = kind().id(message).split("-");
                Checks.equal(next.getOrDefault(id[0], 0), Integer.valueOf(id[1]));
                next.merge(id[0], 1, Integer::sum);
            }
            inbox.nothing(1);
        }
    }

    private void requestAndReply(String topic) throws Exception {
        try (Subscriber ignored = port.subscribe(Subscription.to(topic, topic).replying(), question ->
                Optional.of(kind().message(topic, "reply", "re: " + kind().text(question))));
            Publisher<M> asker = port.publisher()) {
            for (int n = 0; n < 10; n++) {
                M reply = asker.request(kind().message(topic, "question" + n, "question " + n), 10_000);
                Checks.that(reply != null, "no reply");
                Checks.equal("re: question " + n, kind().text(reply));
            }
        }
    }
}
