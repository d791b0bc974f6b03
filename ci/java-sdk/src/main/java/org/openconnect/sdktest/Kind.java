package org.openconnect.sdktest;

/** A kind of message of the SDK, as all checks see it: an id, a text, and a key that orders. */
interface Kind<M> {
    /** A message without a key. */
    default M message(String topic, String id, String text) {
        return message(topic, id, text, "");
    }

    /** The key may be empty. */
    M message(String topic, String id, String text, String key);

    String id(M message);

    String text(M message);
}
