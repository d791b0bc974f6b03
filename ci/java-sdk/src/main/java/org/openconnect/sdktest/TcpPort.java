package org.openconnect.sdktest;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.Function;
import org.apache.eventmesh.client.tcp.EventMeshTCPClient;
import org.apache.eventmesh.client.tcp.EventMeshTCPClientFactory;
import org.apache.eventmesh.client.tcp.conf.EventMeshTCPClientConfig;
import org.apache.eventmesh.common.protocol.tcp.Command;
import org.apache.eventmesh.common.protocol.tcp.Package;
import org.apache.eventmesh.common.protocol.tcp.UserAgent;

/** The SDK's TCP client. It makes two connections, of which each role here uses one. */
record TcpPort<M>(String column, int port, Class<M> type, Kind<M> kind, Function<String, M> parse) implements Port<M> {
    private static final long TIMEOUT_MILLIS = 10_000;

    EventMeshTCPClient<M> client(String group, String purpose, String password) {
        UserAgent agent = UserAgent.builder().env("test").host("localhost").password(password).username("user")
            .group(group).path("/").port(8362).subsystem("5023").pid(32893).version("2.0.11").idc("FT")
            .purpose(purpose).build();
        EventMeshTCPClient<M> client = EventMeshTCPClientFactory.createEventMeshTCPClient(
            EventMeshTCPClientConfig.builder().host("127.0.0.1").port(port).userAgent(agent).build(), type);
        client.init();
        return client;
    }

    /**
     * Closes both sides, one after the other: each leaves its caller's thread interrupted, which would keep the other from
     * closing.
     */
    static void close(EventMeshTCPClient<?> client) {
        try {
            client.getSubClient().close();
            Thread.interrupted();
            client.getPubClient().close();
        } catch (Exception failure) {
            throw new AssertionError(failure);
        } finally {
            Thread.interrupted();
        }
    }

    static Answer answer(Package answer) {
        boolean confirmed = answer.getHeader().getCode() == 0
            && answer.getHeader().getCmd() == Command.ASYNC_MESSAGE_TO_SERVER_ACK;
        return new Answer(confirmed, answer.getHeader().getDesc());
    }

    @Override
    public Publisher<M> publisher(String password) {
        EventMeshTCPClient<M> client = client("java-publisher", "pub", password);
        return new Publisher<>() {
            @Override
            public Answer publish(M message) {
                return answer(client.publish(message, TIMEOUT_MILLIS));
            }

            @Override
            public void confirmedAll(List<List<M>> lanes) {
                ExecutorService threads = Executors.newFixedThreadPool(lanes.size());
                List<CompletableFuture<Void>> running = new ArrayList<>();
                lanes.forEach(lane ->
                    running.add(CompletableFuture.runAsync(() -> lane.forEach(this::confirmed), threads)));
                running.forEach(CompletableFuture::join);
                threads.shutdown();
            }

            @Override
            public M request(M question, long timeoutMillis) {
                Package answer = client.rr(question, timeoutMillis);
                Checks.equal(Command.RESPONSE_TO_CLIENT, answer.getHeader().getCmd());
                return parse.apply(answer.getBody().toString());
            }

            @Override
            public void close() {
                TcpPort.close(client);
            }
        };
    }

    @Override
    public Subscriber subscribe(Subscription to, Handler<M> handler) {
        EventMeshTCPClient<M> client = client(to.group(), "sub", "pass");
        client.registerSubBusiHandler(handler::handle);
        Subscriber subscriber = new Subscriber() {
            @Override
            public void unsubscribe() {
                client.unsubscribe();
            }

            @Override
            public void subscribeAgain() {
                to.topics().forEach(topic -> client.subscribe(topic, to.mode(), to.type()));
            }

            @Override
            public void close() {
                TcpPort.close(client);
            }
        };
        subscriber.subscribeAgain();
        client.listen();
        return subscriber;
    }
}
