package org.openconnect.sdktest;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.Phaser;
import java.util.concurrent.TimeUnit;

/**
 * The mesh that is restarted once all checks that need it are ready: the line {@code restart} on standard output asks
 * for it, the line {@code restarted} on standard input says that it listens again.
 */
final class Restart {
    private final Phaser ready = new Phaser() {
        @Override
        protected boolean onAdvance(int phase, int registered) {
            System.out.println("restart");
            try {
                Checks.equal("restarted",
                    new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8)).readLine());
            } catch (IOException failure) {
                throw new UncheckedIOException(failure);
            }
            return true;
        }
    };

    /** One more check will wait for it. */
    void expect() {
        ready.register();
    }

    /** Returns when the mesh was restarted. */
    void await() throws Exception {
        ready.awaitAdvanceInterruptibly(ready.arrive(), 60, TimeUnit.SECONDS);
    }
}
