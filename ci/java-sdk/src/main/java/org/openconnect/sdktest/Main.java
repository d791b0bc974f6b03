package org.openconnect.sdktest;

/** Runs all checks against a mesh: {@code Main <tcp port> <grpc port>}. Exit code 1 when one failed. */
public final class Main {
    private Main() {
    }

    public static void main(String[] args) {
        Checks checks = new Checks();
        new OverTcp(Integer.parseInt(args[0])).run(checks);
        new OverGrpc(Integer.parseInt(args[1])).run(checks);
        System.out.println("java sdk: " + checks.passed() + " passed, " + checks.failed() + " failed");
        // The SDK's threads would keep the process alive.
        System.exit(checks.failed() == 0 ? 0 : 1);
    }
}
