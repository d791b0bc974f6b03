package org.openconnect.sdktest;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** What a subscriber got, in order. */
final class Inbox<M> implements Port.Handler<M> {
    private final BlockingQueue<M> got = new LinkedBlockingQueue<>();

    @Override
    public Optional<M> handle(M message) {
        got.add(message);
        return Optional.empty();
    }

    M next() throws InterruptedException {
        return next(20);
    }

    M next(long seconds) throws InterruptedException {
        M next = got.poll(seconds, TimeUnit.SECONDS);
        Checks.that(next != null, "nothing came within " + seconds + " s");
        return next;
    }

    List<M> next(int count, long seconds) throws InterruptedException {
        List<M> out = new ArrayList<>();
        while (out.size() < count) {
            out.add(next(seconds));
        }
        return out;
    }

    void nothing(long seconds) throws InterruptedException {
        Checks.that(got.poll(seconds, TimeUnit.SECONDS) == null, "something came that should not");
    }

    boolean isEmpty() {
        return got.isEmpty();
    }

    int size() {
        return got.size();
    }
}
