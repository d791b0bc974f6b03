package org.openconnect.sdktest;

import io.cloudevents.CloudEvent;
import java.util.concurrent.TimeUnit;
import org.apache.eventmesh.client.tcp.EventMeshTCPClient;
import org.apache.eventmesh.common.protocol.tcp.EventMeshMessage;
import org.openconnect.sdktest.Port.Publisher;
import org.openconnect.sdktest.Port.Subscriber;
import org.openconnect.sdktest.Port.Subscription;

/** The mesh is killed and started again under open publishers and subscribers. */
record RestartChecks(Restart restart) {
    private static final String PUBLISH = "the mesh restarts: publish goes on";
    private static final String SUBSCRIBE = "the mesh restarts: the subscription goes on, nothing is lost";
    /** The SDK's TCP client looks every 30 s whether it is connected. */
    private static final long WITHIN_SECONDS = 45;

    RestartChecks tcpEvents(TcpPort<CloudEvent> port, Checks checks) {
        restart.expect();
        checks.worksInTime(PUBLISH, port.column(), topic -> publishGoesOn(port, topic));
        restart.expect();
        checks.worksInTime(SUBSCRIBE, port.column(), topic -> subscriptionGoesOn(port, topic));
        return this;
    }

    RestartChecks tcpMessages(TcpPort<EventMeshMessage> port, Checks checks) {
        restart.expect();
        checks.differsInTime(PUBLISH, port.column(),
            "the SDK can't connect again: its handler may not be used twice; a new client is needed",
            topic -> publishEnds(port, topic));
        restart.expect();
        checks.differsInTime(SUBSCRIBE, port.column(),
            "the SDK can't connect again; a new client gets what came meanwhile",
            topic -> subscriptionEnds(port, topic, 0));
        return this;
    }

    RestartChecks grpc(GrpcPort<?> port, Checks checks) {
        restart.expect();
        checks.worksInTime(PUBLISH, port.column(), topic -> publishGoesOn(port, topic));
        restart.expect();
        // The SDK's heartbeat tells it after 10 s to subscribe again, which it does on the broken stream.
        checks.differsInTime(SUBSCRIBE, port.column(),
            "the SDK does not open its stream again; a new consumer gets what came meanwhile",
            topic -> subscriptionEnds(port, topic, 12));
        return this;
    }

    private <M> void publishGoesOn(Port<M> port, String topic) throws Exception {
        try (Publisher<M> publisher = port.publisher()) {
            publisher.confirmed(port.kind().message(topic, "before", "text"));
            restart.await();
            long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(WITHIN_SECONDS);
            while (!confirmed(port, publisher, topic)) {
                Checks.that(System.nanoTime() < end, "no publish succeeds after the restart");
                Thread.sleep(500);
            }
        }
    }

    private static <M> boolean confirmed(Port<M> port, Publisher<M> publisher, String topic) {
        try {
            return publisher.publish(port.kind().message(topic, "after", "text")).confirmed();
        } catch (RuntimeException notConnected) {
            return false;
        }
    }

    private <M> void subscriptionGoesOn(Port<M> port, String topic) throws Exception {
        Inbox<M> inbox = new Inbox<>();
        try (Subscriber ignored = port.subscribe(Subscription.to(topic, topic), inbox)) {
            publishAround(port, topic, inbox);
            until(port, inbox, "after", WITHIN_SECONDS);
        }
    }

    private <M> void subscriptionEnds(Port<M> port, String topic, long quietSeconds) throws Exception {
        Inbox<M> inbox = new Inbox<>();
        Inbox<M> fresh = new Inbox<>();
        try (Subscriber ignored = port.subscribe(Subscription.to(topic, topic), inbox)) {
            publishAround(port, topic, inbox);
            inbox.nothing(quietSeconds);
            try (Subscriber too = port.subscribe(Subscription.to(topic, topic), fresh)) {
                until(port, fresh, "after", 20);
            }
        }
    }

    private <M> void publishAround(Port<M> port, String topic, Inbox<M> inbox) throws Exception {
        try (Publisher<M> publisher = port.publisher()) {
            publisher.confirmed(port.kind().message(topic, "before", "text"));
            Checks.equal("before", port.kind().id(inbox.next()));
        }
        restart.await();
        try (Publisher<M> publisher = port.publisher()) {
            publisher.confirmed(port.kind().message(topic, "after", "text"));
        }
    }

    /** What was consumed just before the kill may come again. */
    private static <M> void until(Port<M> port, Inbox<M> inbox, String id, long seconds) throws InterruptedException {
        String got = port.kind().id(inbox.next(seconds));
        while (!got.equals(id)) {
            Checks.equal("before", got);
            got = port.kind().id(inbox.next(seconds));
        }
    }

    private void publishEnds(TcpPort<EventMeshMessage> port, String topic) throws Exception {
        EventMeshTCPClient<EventMeshMessage> client = port.client("java-publisher", "pub", "pass");
        try {
            EventMeshMessage message = port.kind().message(topic, "event", "text");
            client.publish(message, 5000);
            restart.await();
            Checks.fails("reconnect", unused -> client.getPubClient().reconnect());
            Checks.fails("publish", unused -> client.publish(message, 2000));
        } finally {
            TcpPort.close(client);
        }
    }
}
