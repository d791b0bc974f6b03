package org.openconnect.sdktest;

import io.cloudevents.CloudEvent;
import io.cloudevents.core.builder.CloudEventBuilder;
import java.net.URI;
import java.nio.charset.StandardCharsets;

/** Events as the SDK's users build them. */
final class Events {
    private Events() {
    }

    static CloudEvent event(String topic, String id, String contentType, String data) {
        return CloudEventBuilder.v1()
            .withId(id)
            .withSource(URI.create("/java"))
            .withType("cloudevents")
            .withSubject(topic)
            .withDataContentType(contentType)
            .withData(data.getBytes(StandardCharsets.UTF_8))
            .withExtension("ttl", "10000")
            .build();
    }

    static String data(CloudEvent event) {
        return event.getData() == null ? "" : new String(event.getData().toBytes(), StandardCharsets.UTF_8);
    }
}
