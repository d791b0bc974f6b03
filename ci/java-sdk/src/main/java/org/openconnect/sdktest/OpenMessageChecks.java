package org.openconnect.sdktest;

import io.openmessaging.api.Message;
import java.nio.charset.StandardCharsets;
import org.apache.eventmesh.client.grpc.producer.EventMeshGrpcProducer;
import org.apache.eventmesh.client.tcp.EventMeshTCPClient;

/** OpenMessage, which the SDK names but does not send. */
record OpenMessageChecks(int tcp, int grpc) {
    private static final String CALL = "publish an OpenMessage";

    void register(Checks checks) {
        checks.differs(CALL, "TCP | OpenMessage", "the SDK's client for it is empty: it sends nothing and gives null",
            this::overTcp);
        checks.differs(CALL, "gRPC | OpenMessage", "the SDK throws: it has no producer for it", this::overGrpc);
    }

    private static Message message(String topic) {
        return new Message(topic, "", "text".getBytes(StandardCharsets.UTF_8));
    }

    private void overTcp(String topic) {
        EventMeshTCPClient<Message> client =
            new TcpPort<>("", tcp, Message.class, null, null).client("java-publisher", "pub", "pass");
        Checks.that(client.publish(message(topic), 1000) == null, "it was answered");
    }

    private void overGrpc(String topic) throws Exception {
        EventMeshGrpcProducer producer =
            new GrpcPort<>("", grpc, GrpcPort.MESSAGES, new GrpcMessages()).producer("pass");
        try {
            Checks.fails("publish", unused -> producer.publish(message(topic)));
        } finally {
            producer.close();
        }
    }
}
