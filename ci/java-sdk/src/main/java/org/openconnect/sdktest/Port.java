package org.openconnect.sdktest;

import java.util.List;
import java.util.Optional;
import org.apache.eventmesh.common.protocol.SubscriptionMode;
import org.apache.eventmesh.common.protocol.SubscriptionType;

/** One transport of the SDK with one kind of message: what all of them can do. */
interface Port<M> {
    /** Its column in the matrix: transport and kind of message. */
    String column();

    Kind<M> kind();

    Publisher<M> publisher(String password);

    default Publisher<M> publisher() {
        return publisher("pass");
    }

    Subscriber subscribe(Subscription to, Handler<M> handler);

    /** The answer to a publish. */
    record Answer(boolean confirmed, String text) {
    }

    interface Publisher<M> extends AutoCloseable {
        Answer publish(M message);

        default void confirmed(M message) {
            Answer answer = publish(message);
            Checks.that(answer.confirmed(), "not confirmed: " + answer.text());
        }

        /** As fast as the SDK can, with every event confirmed; in order per lane. */
        void confirmedAll(List<List<M>> lanes) throws Exception;

        M request(M question, long timeoutMillis);

        @Override
        void close();
    }

    interface Subscriber extends AutoCloseable {
        void unsubscribe();

        /** The same subscription once more, by the same client. */
        void subscribeAgain();

        @Override
        void close();
    }

    interface Handler<M> {
        Optional<M> handle(M message);
    }

    record Subscription(String group, List<String> topics, SubscriptionMode mode, SubscriptionType type) {
        static Subscription to(String group, String... topics) {
            return new Subscription(group, List.of(topics), SubscriptionMode.CLUSTERING, SubscriptionType.ASYNC);
        }

        Subscription broadcasting() {
            return new Subscription(group, topics, SubscriptionMode.BROADCASTING, type);
        }

        Subscription replying() {
            return new Subscription(group, topics, mode, SubscriptionType.SYNC);
        }
    }
}
