package org.openconnect.sdktest;

import io.cloudevents.CloudEvent;
import org.apache.eventmesh.common.protocol.tcp.EventMeshMessage;

/**
 * Checks what the SDK offers against a mesh: {@code Main <tcp port> <grpc port> <tcp port> <grpc port>}, where the
 * second pair belongs to a mesh that can be restarted. Exit code 1 when a check failed.
 */
public final class Main {
    private Main() {
    }

    public static void main(String[] args) throws Exception {
        initialise();
        Checks checks = new Checks();
        Restart restart = new Restart();
        TcpPort<CloudEvent> tcpEvents = tcpEvents(args[0]);
        TcpPort<EventMeshMessage> tcpMessages = tcpMessages(args[0]);
        GrpcPort<CloudEvent> grpcEvents = grpcEvents(args[1]);
        GrpcPort<org.apache.eventmesh.common.EventMeshMessage> grpcMessages = grpcMessages(args[1]);

        for (TcpPort<?> port : new TcpPort<?>[] {tcpEvents, tcpMessages}) {
            register(port, checks);
            new TcpChecks<>(port).register(checks);
        }
        for (GrpcPort<?> port : new GrpcPort<?>[] {grpcEvents, grpcMessages}) {
            register(port, checks);
            new GrpcChecks<>(port).register(checks);
        }
        new CrossingChecks<>(tcpEvents, grpcEvents).register(checks);
        new CrossingChecks<>(tcpMessages, grpcMessages).register(checks);
        new CrossingChecks<>(grpcEvents, tcpEvents).register(checks);
        new CrossingChecks<>(grpcMessages, tcpMessages).register(checks);
        new CloudEventChecks(tcpEvents, grpcEvents).register(checks);
        new OpenMessageChecks(Integer.parseInt(args[0]), Integer.parseInt(args[1])).register(checks);
        new RestartChecks(restart).tcpEvents(tcpEvents(args[2]), checks).tcpMessages(tcpMessages(args[2]), checks)
            .grpc(grpcEvents(args[3]), checks).grpc(grpcMessages(args[3]), checks);

        boolean passed = checks.run();
        // The SDK's threads would keep the process alive.
        System.exit(passed ? 0 : 1);
    }

    /**
     * Java locks a class while its static part runs. Checks run side by side, and those of the two transports could each
     * wait for what the other has begun: logging, the network's native library, the clients.
     */
    private static void initialise() throws Exception {
        java.net.InetAddress.getLocalHost();
        for (String name : new String[] {
            "org.apache.eventmesh.client.tcp.common.TcpClient",
            "org.apache.eventmesh.client.tcp.impl.cloudevent.CloudEventTCPPubClient",
            "org.apache.eventmesh.client.tcp.impl.cloudevent.CloudEventTCPSubClient",
            "org.apache.eventmesh.client.grpc.producer.EventMeshGrpcProducer",
            "org.apache.eventmesh.client.grpc.consumer.EventMeshGrpcConsumer",
        }) {
            Class.forName(name);
        }
    }

    private static <M> void register(Port<M> port, Checks checks) {
        new DeliveryChecks<>(port).register(checks);
        new PayloadChecks<>(port).register(checks);
        new LifeChecks<>(port).register(checks);
    }

    private static TcpPort<CloudEvent> tcpEvents(String port) {
        return new TcpPort<>("TCP | CloudEvents", Integer.parseInt(port), CloudEvent.class,
            new CloudEvents("application/cloudevents+json"), CloudEvents::parse);
    }

    private static TcpPort<EventMeshMessage> tcpMessages(String port) {
        return new TcpPort<>("TCP | EventMeshMessage", Integer.parseInt(port), EventMeshMessage.class,
            new TcpMessages(), TcpMessages::parse);
    }

    private static GrpcPort<CloudEvent> grpcEvents(String port) {
        return new GrpcPort<>("gRPC | CloudEvents", Integer.parseInt(port), GrpcPort.CLOUD_EVENTS,
            new CloudEvents("application/json"));
    }

    private static GrpcPort<org.apache.eventmesh.common.EventMeshMessage> grpcMessages(String port) {
        return new GrpcPort<>("gRPC | EventMeshMessage", Integer.parseInt(port), GrpcPort.MESSAGES, new GrpcMessages());
    }
}
