package org.openconnect.sdktest;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * The checks: each of one call in one column (transport and kind of message), independent of all others, bounded in
 * time, with one line of output: {@code ok call | transport | kind}, with how it differs as a fourth part, or
 * {@code FAILED call | transport | kind: why}.
 */
final class Checks {
    /** A check that takes longer has failed. */
    private static final long LIMIT_SECONDS = 75;
    /** Checks that run beside each other, without those that mostly wait. */
    private static final int BESIDE = 4;

    interface Body {
        /** The topic is this check's own. */
        void run(String topic) throws Exception;
    }

    private record Check(String call, String column, String differs, boolean waits, Body body) {
        String topic() {
            return "java-" + (call + "-" + column).toLowerCase().replaceAll("[^a-z0-9]+", "-");
        }

        String name() {
            return call + " | " + column;
        }
    }

    private final List<Check> checks = new ArrayList<>();

    /** The call does what it is meant to do. */
    void works(String call, String column, Body body) {
        checks.add(new Check(call, column, null, false, body));
    }

    /** As {@link #works}, for a check that mostly waits. */
    void worksInTime(String call, String column, Body body) {
        checks.add(new Check(call, column, null, true, body));
    }

    /** The call does something else, and the body shows it. */
    void differs(String call, String column, String how, Body body) {
        checks.add(new Check(call, column, how, false, body));
    }

    /** As {@link #differs}, for a check that mostly waits. */
    void differsInTime(String call, String column, String how, Body body) {
        checks.add(new Check(call, column, how, true, body));
    }

    /** Runs all and says whether all passed. */
    boolean run() throws InterruptedException {
        ExecutorService few = Executors.newFixedThreadPool(BESIDE);
        ExecutorService many = Executors.newCachedThreadPool();
        List<CompletableFuture<Void>> running = new ArrayList<>();
        for (Check check : checks) {
            running.add(CompletableFuture.runAsync(() -> run(check, many), check.waits() ? many : few));
        }
        int failed = 0;
        for (int at = 0; at < checks.size(); at++) {
            Check check = checks.get(at);
            try {
                running.get(at).get();
                System.out.println("ok " + check.name() + (check.differs() == null ? "" : " | " + check.differs()));
            } catch (ExecutionException failure) {
                failed++;
                System.out.println("FAILED " + check.name() + ": " + oneLine(failure.getCause()));
                failure.getCause().printStackTrace();
            }
        }
        System.out.println("java sdk: " + (checks.size() - failed) + " passed, " + failed + " failed");
        return failed == 0;
    }

    /** In a thread of its own, because the SDK blocks in it, and interrupts it. */
    private static void run(Check check, ExecutorService threads) {
        CompletableFuture<Void> done = CompletableFuture.runAsync(() -> {
            try {
                check.body().run(check.topic());
            } catch (RuntimeException | Error failure) {
                throw failure;
            } catch (Exception failure) {
                throw new AssertionError(failure.toString(), failure);
            }
        }, threads);
        try {
            done.get(LIMIT_SECONDS, TimeUnit.SECONDS);
        } catch (TimeoutException late) {
            throw new AssertionError("not done within " + LIMIT_SECONDS + " s");
        } catch (ExecutionException failure) {
            throw new AssertionError(failure.getCause().toString(), failure.getCause());
        } catch (InterruptedException interrupted) {
            throw new AssertionError(interrupted);
        }
    }

    private static String oneLine(Throwable failure) {
        return String.valueOf(failure.getMessage()).lines().findFirst().orElse("");
    }

    static void equal(Object expected, Object actual) {
        if (!expected.equals(actual)) {
            throw new AssertionError("expected " + brief(expected) + ", got " + brief(actual));
        }
    }

    static void that(boolean holds, String otherwise) {
        if (!holds) {
            throw new AssertionError(otherwise);
        }
    }

    static void fails(String what, Body body) {
        try {
            body.run("");
        } catch (Exception expected) {
            return;
        }
        throw new AssertionError(what + " did not fail");
    }

    private static String brief(Object value) {
        String text = String.valueOf(value);
        return text.length() <= 300 ? text : text.substring(0, 300) + "... (" + text.length() + ")";
    }
}
