package org.openconnect.sdktest;

import io.cloudevents.CloudEvent;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import org.apache.eventmesh.client.tcp.EventMeshTCPClientFactory;
import org.apache.eventmesh.client.tcp.common.ReceiveMsgHook;
import org.apache.eventmesh.client.tcp.EventMeshTCPClient;
import org.apache.eventmesh.client.tcp.conf.EventMeshTCPClientConfig;
import org.apache.eventmesh.common.protocol.SubscriptionMode;
import org.apache.eventmesh.common.protocol.SubscriptionType;
import org.apache.eventmesh.common.protocol.tcp.Command;
import org.apache.eventmesh.common.protocol.tcp.Package;
import org.apache.eventmesh.common.protocol.tcp.UserAgent;

/** Publish, subscribe, acknowledge (the SDK does so after the handler), broadcast, request and reply. */
final class OverTcp {
    /** The only content type that the SDK's TCP client is meant for. */
    private static final String CONTENT = "application/cloudevents+json";
    private final int port;

    OverTcp(int port) {
        this.port = port;
    }

    void run(Checks checks) {
        checks.check("tcp publish, subscribe, acknowledge", this::publishAndSubscribe);
        checks.check("tcp broadcast reaches every subscriber", this::broadcast);
        checks.check("tcp request and reply", this::requestAndReply);
    }

    private EventMeshTCPClient<CloudEvent> client(String group, String purpose) {
        UserAgent agent = UserAgent.builder().env("test").host("localhost").password("pass").username("user")
            .group(group).path("/").port(8362).subsystem("5023").pid(32893).version("2.0.11").idc("FT")
            .purpose(purpose).build();
        EventMeshTCPClientConfig config =
            EventMeshTCPClientConfig.builder().host("127.0.0.1").port(port).userAgent(agent).build();
        EventMeshTCPClient<CloudEvent> client =
            EventMeshTCPClientFactory.createEventMeshTCPClient(config, CloudEvent.class);
        client.init();
        return client;
    }

    private EventMeshTCPClient<CloudEvent> subscriber(
        String group, String topic, SubscriptionMode mode, SubscriptionType type, ReceiveMsgHook<CloudEvent> hook) {
        EventMeshTCPClient<CloudEvent> client = client(group, "sub");
        client.subscribe(topic, mode, type);
        client.registerSubBusiHandler(hook);
        client.listen();
        return client;
    }

    private static ReceiveMsgHook<CloudEvent> into(BlockingQueue<CloudEvent> queue) {
        return event -> {
            queue.add(event);
            return Optional.empty();
        };
    }

    private void publishAndSubscribe() throws Exception {
        BlockingQueue<CloudEvent> got = new LinkedBlockingQueue<>();
        EventMeshTCPClient<CloudEvent> subscriber = subscriber(
            "java-tcp", "java-tcp", SubscriptionMode.CLUSTERING, SubscriptionType.ASYNC, into(got));
        try (EventMeshTCPClient<CloudEvent> publisher = client("java-pub", "pub")) {
            for (int n = 0; n < 20; n++) {
                Package answer = publisher.publish(
                    Events.event("java-tcp", "tcp-" + n, CONTENT, "{\"n\":" + n + "}"), 5000);
                Checks.equal(Command.ASYNC_MESSAGE_TO_SERVER_ACK, answer.getHeader().getCmd());
                Checks.equal(0, answer.getHeader().getCode());
            }
        }
        for (int n = 0; n < 20; n++) {
            CloudEvent event = Checks.next(got);
            Checks.equal("tcp-" + n, event.getId());
            Checks.equal("{\"n\":" + n + "}", Events.data(event));
        }
        // The last acknowledgement follows the handler.
        Thread.sleep(500);
        subscriber.close();
        BlockingQueue<CloudEvent> again = new LinkedBlockingQueue<>();
        try (EventMeshTCPClient<CloudEvent> second = subscriber(
            "java-tcp", "java-tcp", SubscriptionMode.CLUSTERING, SubscriptionType.ASYNC, into(again))) {
            Checks.nothing(again);
        }
    }

    private void broadcast() throws Exception {
        BlockingQueue<CloudEvent> first = new LinkedBlockingQueue<>();
        BlockingQueue<CloudEvent> second = new LinkedBlockingQueue<>();
        try (EventMeshTCPClient<CloudEvent> one = subscriber(
                "java-cast", "java-cast", SubscriptionMode.BROADCASTING, SubscriptionType.ASYNC, into(first));
            EventMeshTCPClient<CloudEvent> two = subscriber(
                "java-cast", "java-cast", SubscriptionMode.BROADCASTING, SubscriptionType.ASYNC, into(second));
            EventMeshTCPClient<CloudEvent> publisher = client("java-pub", "pub")) {
            publisher.broadcast(Events.event("java-cast", "cast", CONTENT, "{}"), 5000);
            Checks.equal("cast", Checks.next(first).getId());
            Checks.equal("cast", Checks.next(second).getId());
        }
    }

    private void requestAndReply() throws Exception {
        try (EventMeshTCPClient<CloudEvent> replier = subscriber(
                "java-rr", "java-rr", SubscriptionMode.CLUSTERING, SubscriptionType.SYNC,
                event -> Optional.of(Events.event("java-rr", event.getId(), CONTENT, "{\"answer\":42}")));
            EventMeshTCPClient<CloudEvent> asker = client("java-pub", "pub")) {
            Package answer = asker.rr(Events.event("java-rr", "question", CONTENT, "{\"ask\":1}"), 5000);
            Checks.equal(Command.RESPONSE_TO_CLIENT, answer.getHeader().getCmd());
            Object body = answer.getBody();
            String text = body instanceof byte[] bytes ? new String(bytes) : String.valueOf(body);
            if (!text.contains("42")) {
                throw new AssertionError("another answer: " + text);
            }
        }
    }
}
