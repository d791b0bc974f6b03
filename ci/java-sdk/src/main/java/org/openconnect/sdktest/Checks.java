package org.openconnect.sdktest;

import java.util.concurrent.BlockingQueue;
import java.util.concurrent.TimeUnit;

/** Named checks, each with its own line of output. */
final class Checks {
    private int passed;
    private int failed;

    interface Check {
        void run() throws Exception;
    }

    void check(String name, Check check) {
        try {
            check.run();
            passed++;
            System.out.println("ok " + name);
        } catch (Throwable reason) {
            failed++;
            System.out.println("FAILED " + name + ": " + reason);
            reason.printStackTrace(System.out);
        }
    }

    int passed() {
        return passed;
    }

    int failed() {
        return failed;
    }

    static void equal(Object expected, Object actual) {
        if (!expected.equals(actual)) {
            throw new AssertionError("expected " + expected + ", got " + actual);
        }
    }

    /** The next element within ten seconds. */
    static <T> T next(BlockingQueue<T> queue) throws InterruptedException {
        T next = queue.poll(10, TimeUnit.SECONDS);
        if (next == null) {
            throw new AssertionError("nothing came within 10 s");
        }
        return next;
    }

    /** Nothing may come within a second. */
    static void nothing(BlockingQueue<?> queue) throws InterruptedException {
        Object more = queue.poll(1, TimeUnit.SECONDS);
        if (more != null) {
            throw new AssertionError("came again: " + more);
        }
    }
}
