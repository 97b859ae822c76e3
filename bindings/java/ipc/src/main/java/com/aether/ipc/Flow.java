package com.aether.ipc;

/** What a {@link MessageView.Handler} wants done with the message that it was given. */
public enum Flow {
    /** It is done; go on. */
    CONTINUE,
    /** It stays in the ring, for a retry; stop. */
    KEEP,
    /** It is done; release it and all before it now, and go on. */
    COMMIT,
    /** It is done; stop here. */
    BREAK
}
