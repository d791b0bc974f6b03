package org.openconnect.sdktest;

import java.util.HashMap;
import java.util.Map;
import org.apache.eventmesh.common.protocol.tcp.EventMeshMessage;
import org.apache.eventmesh.common.utils.JsonUtils;

/** EventMesh's own message, as it goes over TCP. It has no id: a property stands for it. */
final class TcpMessages implements Kind<EventMeshMessage> {
    @Override
    public EventMeshMessage message(String topic, String id, String text, String key) {
        Map<String, String> properties = new HashMap<>(Map.of("uniqueid", id, "ttl", "10000"));
        if (!key.isEmpty()) {
            properties.put("partitionkey", key);
        }
        return new EventMeshMessage(topic, properties, new HashMap<>(), text);
    }

    @Override
    public String id(EventMeshMessage message) {
        return message.getProperties().get("uniqueid");
    }

    @Override
    public String text(EventMeshMessage message) {
        return message.getBody();
    }

    static EventMeshMessage parse(String json) {
        return JsonUtils.parseObject(json, EventMeshMessage.class);
    }
}
