package org.openconnect.sdktest;

import org.apache.eventmesh.common.EventMeshMessage;

/** EventMesh's own message, as it goes over gRPC. */
final class GrpcMessages implements Kind<EventMeshMessage> {
    @Override
    public EventMeshMessage message(String topic, String id, String text, String key) {
        EventMeshMessage message =
            EventMeshMessage.builder().topic(topic).bizSeqNo(id).uniqueId(id).content(text).build();
        message.addProp("ttl", "10000");
        return key.isEmpty() ? message : message.addProp("partitionkey", key);
    }

    @Override
    public String id(EventMeshMessage message) {
        return message.getUniqueId();
    }

    @Override
    public String text(EventMeshMessage message) {
        return message.getContent();
    }
}
