package org.openconnect.sdktest;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.cloudevents.CloudEvent;
import io.cloudevents.core.builder.CloudEventBuilder;
import io.cloudevents.core.provider.EventFormatProvider;
import io.cloudevents.jackson.JsonFormat;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.Objects;

/** CloudEvents whose data is a JSON string, under the content type that the transport demands. */
record CloudEvents(String contentType) implements Kind<CloudEvent> {
    private static final ObjectMapper JSON = new ObjectMapper();

    /** What most events here have in common. */
    CloudEventBuilder builder(String topic, String id) {
        return CloudEventBuilder.v1().withId(id).withSource(URI.create("/java")).withType("cloudevents")
            .withSubject(topic).withDataContentType(contentType).withExtension("ttl", "10000");
    }

    @Override
    public CloudEvent message(String topic, String id, String text, String key) {
        try {
            CloudEventBuilder builder = builder(topic, id).withData(JSON.writeValueAsBytes(text));
            return (key.isEmpty() ? builder : builder.withExtension("partitionkey", key)).build();
        } catch (JsonProcessingException failure) {
            throw new UncheckedIOException(failure);
        }
    }

    @Override
    public String id(CloudEvent event) {
        return event.getId();
    }

    @Override
    public String text(CloudEvent event) {
        try {
            return JSON.readValue(Objects.requireNonNull(event.getData(), "no data").toBytes(), String.class);
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }

    static CloudEvent parse(String json) {
        return EventFormatProvider.getInstance().resolveFormat(JsonFormat.CONTENT_TYPE)
            .deserialize(json.getBytes(StandardCharsets.UTF_8));
    }
}
