package org.openconnect.sdktest;

import io.cloudevents.CloudEvent;
import io.cloudevents.core.builder.CloudEventBuilder;
import java.net.URI;
import java.time.OffsetDateTime;
import java.util.Base64;
import java.util.HexFormat;
import org.openconnect.sdktest.Port.Answer;
import org.openconnect.sdktest.Port.Publisher;
import org.openconnect.sdktest.Port.Subscriber;
import org.openconnect.sdktest.Port.Subscription;

/** What only CloudEvents have: binary data, content types, typed extensions. */
record CloudEventChecks(TcpPort<CloudEvent> tcp, GrpcPort<CloudEvent> grpc) {
    private static final byte[] BYTES = {0, 1, -1, -128, 127, '"', '\n'};
    private static final OffsetDateTime TIME = OffsetDateTime.parse("2024-02-29T12:34:56.789Z");

    void register(Checks checks) {
        checks.differs("binary data", tcp.column(),
            "refused: the SDK writes the bytes into the JSON as they are; send them as Base64 in a JSON string",
            this::binaryOverTcp);
        checks.works("binary data", grpc.column(), this::binaryOverGrpc);
        checks.differs("data of any content type", tcp.column(),
            "the SDK fails for any but `application/cloudevents+json`", this::contentTypeOverTcp);
        checks.works("data of any content type", grpc.column(), this::contentTypeOverGrpc);
        checks.differs("extensions of all types", tcp.column(),
            "URI, time and bytes arrive as text, as CloudEvents' JSON has them", this::extensionsOverTcp);
        checks.works("extensions of all types", grpc.column(), this::extensionsOverGrpc);
    }

    private static CloudEventBuilder builder(Port<CloudEvent> port, String topic) {
        return ((CloudEvents) port.kind()).builder(topic, "event");
    }

    private static CloudEvent through(Port<CloudEvent> port, String topic, CloudEvent event) throws Exception {
        Inbox<CloudEvent> inbox = new Inbox<>();
        try (Subscriber ignored = port.subscribe(Subscription.to(topic, topic), inbox);
            Publisher<CloudEvent> publisher = port.publisher()) {
            publisher.confirmed(event);
            return inbox.next();
        }
    }

    private void binaryOverTcp(String topic) {
        try (Publisher<CloudEvent> publisher = tcp.publisher()) {
            Answer answer = publisher.publish(builder(tcp, topic).withData(BYTES).build());
            Checks.that(!answer.confirmed(), "it was confirmed");
        }
    }

    private void binaryOverGrpc(String topic) throws Exception {
        CloudEvent got = through(grpc, topic, builder(grpc, topic).withData("application/octet-stream", BYTES).build());
        Checks.equal(HexFormat.of().formatHex(BYTES), HexFormat.of().formatHex(got.getData().toBytes()));
        Checks.equal("application/octet-stream", got.getDataContentType());
    }

    private void contentTypeOverTcp(String topic) throws Exception {
        try (Publisher<CloudEvent> publisher = tcp.publisher()) {
            Checks.fails("publish", unused ->
                publisher.publish(builder(tcp, topic).withData("text/plain", "text".getBytes()).build()));
        }
    }

    private void contentTypeOverGrpc(String topic) throws Exception {
        CloudEvent got = through(grpc, topic, builder(grpc, topic).withData("text/csv", "a;b".getBytes()).build());
        Checks.equal("text/csv", got.getDataContentType());
        Checks.equal("a;b", new String(got.getData().toBytes()));
    }

    private static CloudEvent extended(Port<CloudEvent> port, String topic) {
        return builder(port, topic).withData("{}".getBytes()).withTime(TIME).withDataSchema(URI.create("urn:schema"))
            .withExtension("text", "Grüße").withExtension("number", Integer.MIN_VALUE).withExtension("yes", true)
            .withExtension("uri", URI.create("https://example.org/a?b#c")).withExtension("moment", TIME)
            .withExtension("bytes", BYTES).build();
    }

    private static void common(CloudEvent got) {
        Checks.equal(TIME, got.getTime());
        Checks.equal(URI.create("urn:schema"), got.getDataSchema());
        Checks.equal("Grüße", got.getExtension("text"));
        Checks.equal(Integer.MIN_VALUE, got.getExtension("number"));
        Checks.equal(true, got.getExtension("yes"));
    }

    private void extensionsOverTcp(String topic) throws Exception {
        CloudEvent got = through(tcp, topic, extended(tcp, topic));
        common(got);
        Checks.equal("https://example.org/a?b#c", got.getExtension("uri"));
        Checks.equal(TIME.toString(), got.getExtension("moment"));
        Checks.equal(Base64.getEncoder().encodeToString(BYTES), got.getExtension("bytes"));
    }

    private void extensionsOverGrpc(String topic) throws Exception {
        CloudEvent got = through(grpc, topic, extended(grpc, topic));
        common(got);
        Checks.equal(URI.create("https://example.org/a?b#c"), got.getExtension("uri"));
        Checks.equal(TIME, got.getExtension("moment"));
        Checks.equal(HexFormat.of().formatHex(BYTES), HexFormat.of().formatHex((byte[]) got.getExtension("bytes")));
    }
}
