package org.openconnect.sdktest;

import org.openconnect.sdktest.Port.Publisher;
import org.openconnect.sdktest.Port.Subscriber;
import org.openconnect.sdktest.Port.Subscription;

/** The end of subscriptions, and that they do not end by themselves. */
record LifeChecks<M>(Port<M> port) {
    /** Longer than the mesh, as it is started for this, keeps a session that sends nothing; the SDK's beat is 30 s. */
    private static final long IDLE_MILLIS = 38_000;

    void register(Checks checks) {
        String column = port.column();
        checks.works("unsubscribe: nothing more arrives", column, this::unsubscribe);
        checks.works("close: the rest of the group goes on", column, this::close);
        checks.worksInTime("heartbeat: an idle subscription stays", column, this::heartbeat);
    }

    private void publish(Publisher<M> publisher, String topic, String id) {
        publisher.confirmed(port.kind().message(topic, id, "text"));
    }

    private void unsubscribe(String topic) throws Exception {
        Inbox<M> inbox = new Inbox<>();
        try (Subscriber subscriber = port.subscribe(Subscription.to(topic, topic), inbox);
            Publisher<M> publisher = port.publisher()) {
            publish(publisher, topic, "before");
            Checks.equal("before", port.kind().id(inbox.next()));
            subscriber.unsubscribe();
            publish(publisher, topic, "after");
            inbox.nothing(1);
        }
    }

    private void close(String topic) throws Exception {
        Inbox<M> first = new Inbox<>();
        Inbox<M> second = new Inbox<>();
        try (Publisher<M> publisher = port.publisher()) {
            try (Subscriber ignored = port.subscribe(Subscription.to(topic, topic), first)) {
                publish(publisher, topic, "before");
                Checks.equal("before", port.kind().id(first.next()));
            }
            try (Subscriber ignored = port.subscribe(Subscription.to(topic, topic), second)) {
                // Over gRPC, what is on its way to the one that closes is consumed by it.
                for (int n = 0; second.isEmpty(); n++) {
                    Checks.that(n < 400, "nothing came");
                    publish(publisher, topic, "after");
                    Thread.sleep(50);
                }
                int seen = first.size();
                publish(publisher, topic, "last");
                while (!port.kind().id(second.next()).equals("last")) {
                    // What came before it.
                }
                Checks.equal(seen, first.size());
            }
        }
    }

    private void heartbeat(String topic) throws Exception {
        Inbox<M> inbox = new Inbox<>();
        try (Subscriber ignored = port.subscribe(Subscription.to(topic, topic), inbox);
            Publisher<M> publisher = port.publisher()) {
            Thread.sleep(IDLE_MILLIS);
            publish(publisher, topic, "late");
            Checks.equal("late", port.kind().id(inbox.next(10)));
            inbox.nothing(1);
        }
    }
}
