package org.openconnect.sdktest;

import org.openconnect.sdktest.Port.Publisher;
import org.openconnect.sdktest.Port.Subscriber;
import org.openconnect.sdktest.Port.Subscription;

/** Published over one transport, received over the other. The column is the publisher's. */
record CrossingChecks<M, N>(Port<M> from, Port<N> to) {
    void register(Checks checks) {
        checks.works("received over the other transport, as the same kind", from.column(), this::crosses);
    }

    private void crosses(String topic) throws Exception {
        Inbox<N> inbox = new Inbox<>();
        try (Subscriber ignored = to.subscribe(Subscription.to(topic, topic), inbox);
            Publisher<M> publisher = from.publisher()) {
            publisher.confirmed(from.kind().message(topic, "event", "Grüße \"quoted\""));
            N got = inbox.next();
            Checks.equal("event", to.kind().id(got));
            Checks.equal("Grüße \"quoted\"", to.kind().text(got));
        }
    }
}
