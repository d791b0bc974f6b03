package org.openconnect.sdktest;

import java.util.Random;
import org.openconnect.sdktest.Port.Answer;
import org.openconnect.sdktest.Port.Publisher;
import org.openconnect.sdktest.Port.Subscriber;
import org.openconnect.sdktest.Port.Subscription;

/** What events may carry. The mesh is started with a limit of 3.5 MiB for an event. */
record PayloadChecks<M>(Port<M> port) {
    private static final int LARGE = 3_000_000;
    private static final int TOO_LARGE = 3_700_000;

    void register(Checks checks) {
        String column = port.column();
        checks.works("text of any language, control characters, quotes", column, this::text);
        checks.works("an event of 3 MB", column, this::large);
        checks.works("an event over the server's limit is refused, the next one is not", column, this::tooLarge);
    }

    private void arrives(String topic, String... texts) throws Exception {
        Inbox<M> inbox = new Inbox<>();
        try (Subscriber ignored = port.subscribe(Subscription.to(topic, topic), inbox);
            Publisher<M> publisher = port.publisher()) {
            for (int n = 0; n < texts.length; n++) {
                publisher.confirmed(port.kind().message(topic, "e" + n, texts[n]));
            }
            for (int n = 0; n < texts.length; n++) {
                M message = inbox.next();
                Checks.equal("e" + n, port.kind().id(message));
                Checks.equal(texts[n], port.kind().text(message));
            }
        }
    }

    private void text(String topic) throws Exception {
        arrives(topic, "Grüße, 世界, שלום, 🚀🏳️‍🌈", "\"quoted\" \\ back\\slash / \t\r\n", "\u0001\u001f\u007f\u2028\ufeff",
            "{\"json\": [1, 2.50, \"three\"]}", "<xml attribute='x'>&amp;</xml>");
    }

    private void large(String topic) throws Exception {
        Random random = new Random(1);
        StringBuilder text = new StringBuilder(LARGE);
        while (text.length() < LARGE) {
            text.append((char) ('a' + random.nextInt(26)));
        }
        arrives(topic, text.toString());
    }

    private void tooLarge(String topic) throws Exception {
        try (Publisher<M> publisher = port.publisher()) {
            Answer answer = publisher.publish(port.kind().message(topic, "large", "x".repeat(TOO_LARGE)));
            Checks.that(!answer.confirmed(), "it was confirmed");
            Checks.that(answer.text().contains("exceeds the limit"), "answered: " + answer.text());
            publisher.confirmed(port.kind().message(topic, "small", "text"));
        }
    }
}
