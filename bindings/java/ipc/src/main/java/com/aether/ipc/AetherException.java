package com.aether.ipc;

import java.io.Serial;

/**
 * What went wrong with a ring: one class for each error of the core, with what it knows. The message says what was found,
 * what was expected, where, and what to do.
 *
 * <p>An impossible argument, an impossible capacity included, is an {@link IllegalArgumentException}; the use of
 * something that was closed, or is in use, an {@link IllegalStateException}.
 */
public abstract sealed class AetherException extends RuntimeException {
    @Serial
    private static final long serialVersionUID = 1;

    private AetherException(String message) {
        super(message);
    }

    /** What a status of the C interface means; the rest is from {@code aether_error}. */
    static RuntimeException of(int status, String message, int osError, int lane, long position, long value) {
        return switch (status) {
            case 2 -> new TooLarge(message, value);
            case 3 -> new NoConsumer(message);
            case 4 -> new Closed(message);
            case 5 -> new TimedOut(message);
            case 6 -> new Forked(message);
            case 7 -> new Lagged(message, value);
            case 8 -> new Corrupt(message, lane, position);
            case 9 -> new RoleTaken(message);
            case 11 -> new Options(message);
            case 12 -> new Name(message);
            case 13 -> new Mismatch(message);
            case 14 -> new NotARing(message);
            case 15 -> new Version(message);
            case 16 -> new Truncated(message);
            case 17 -> new NotFound(message);
            case 18 -> new AlreadyExists(message);
            case 19 -> new NotAFile(message);
            case 20 -> new Permission(message);
            case 21 -> new NoSpace(message, osError);
            case 22 -> new Io(message, osError);
            case 10, 23, 25 -> new IllegalArgumentException(message);
            default -> new Internal(status + ": " + message);
        };
    }

    /** The payload is larger than an empty ring could ever take. */
    public static final class TooLarge extends AetherException {
        @Serial
        private static final long serialVersionUID = 1;

        /** The largest payload of this ring, in bytes. */
        private final long max;

        TooLarge(String message, long max) {
            super(message);
            this.max = max;
        }

        /** {@return the largest payload of this ring, in bytes} */
        public long max() {
            return max;
        }
    }

    /** The ring is full and no consumer is there; see {@link AetherProducer#requireConsumer}. */
    public static final class NoConsumer extends AetherException {
        @Serial
        private static final long serialVersionUID = 1;

        NoConsumer(String message) {
            super(message);
        }
    }

    /** The ring is empty and no producer is there; see {@link AetherConsumer#requireProducer}. */
    public static final class Closed extends AetherException {
        @Serial
        private static final long serialVersionUID = 1;

        Closed(String message) {
            super(message);
        }
    }

    /** There was no finished ring within the time given to {@link AetherBuffer#connect}. */
    public static final class TimedOut extends AetherException {
        @Serial
        private static final long serialVersionUID = 1;

        TimedOut(String message) {
            super(message);
        }
    }

    /** The process was forked, and this is the child: the roles stayed with the parent. */
    public static final class Forked extends AetherException {
        @Serial
        private static final long serialVersionUID = 1;

        Forked(String message) {
            super(message);
        }
    }

    /** Messages were overwritten before they were read. Reported once; reading goes on with the oldest whole message. */
    public static final class Lagged extends AetherException {
        @Serial
        private static final long serialVersionUID = 1;

        /** How many bytes were lost, headers and padding counted. */
        private final long bytes;

        Lagged(String message, long bytes) {
            super(message);
            this.bytes = bytes;
        }

        /** {@return how many bytes were lost, headers and padding counted} */
        public long bytes() {
            return bytes;
        }
    }

    /** The bytes in the ring break the format. Nothing was delivered. */
    public static final class Corrupt extends AetherException {
        @Serial
        private static final long serialVersionUID = 1;

        /** The lane, 0 in a ring with one producer. */
        private final int lane;
        /** Where, in bytes since the ring was made. */
        private final long position;

        Corrupt(String message, int lane, long position) {
            super(message);
            this.lane = lane;
            this.position = position;
        }

        /** {@return the lane, 0 in a ring with one producer} */
        public int lane() {
            return lane;
        }

        /** {@return where, in bytes since the ring was made} */
        public long position() {
            return position;
        }
    }

    /** Another process or another object holds the role. */
    public static final class RoleTaken extends AetherException {
        @Serial
        private static final long serialVersionUID = 1;

        RoleTaken(String message) {
            super(message);
        }
    }

    /** A combination of options that no ring can have. */
    public static final class Options extends AetherException {
        @Serial
        private static final long serialVersionUID = 1;

        Options(String message) {
            super(message);
        }
    }

    /** The name of a consumer is not possible or not known. */
    public static final class Name extends AetherException {
        @Serial
        private static final long serialVersionUID = 1;

        Name(String message) {
            super(message);
        }
    }

    /** The file is a ring of another shape than the one asked for. */
    public static final class Mismatch extends AetherException {
        @Serial
        private static final long serialVersionUID = 1;

        Mismatch(String message) {
            super(message);
        }
    }

    /** The file is no ring. */
    public static final class NotARing extends AetherException {
        @Serial
        private static final long serialVersionUID = 1;

        NotARing(String message) {
            super(message);
        }
    }

    /** The file's format version is not known. */
    public static final class Version extends AetherException {
        @Serial
        private static final long serialVersionUID = 1;

        Version(String message) {
            super(message);
        }
    }

    /** The file is shorter than its header says. */
    public static final class Truncated extends AetherException {
        @Serial
        private static final long serialVersionUID = 1;

        Truncated(String message) {
            super(message);
        }
    }

    /** No file at that path. */
    public static final class NotFound extends AetherException {
        @Serial
        private static final long serialVersionUID = 1;

        NotFound(String message) {
            super(message);
        }
    }

    /** There is a file at that path already. */
    public static final class AlreadyExists extends AetherException {
        @Serial
        private static final long serialVersionUID = 1;

        AlreadyExists(String message) {
            super(message);
        }
    }

    /** The path names something that is no regular file. */
    public static final class NotAFile extends AetherException {
        @Serial
        private static final long serialVersionUID = 1;

        NotAFile(String message) {
            super(message);
        }
    }

    /** The system refuses access. */
    public static final class Permission extends AetherException {
        @Serial
        private static final long serialVersionUID = 1;

        Permission(String message) {
            super(message);
        }
    }

    /** The file system has no space for the ring. */
    public static final class NoSpace extends AetherException {
        @Serial
        private static final long serialVersionUID = 1;

        /** The system's error number. */
        private final int osError;

        NoSpace(String message, int osError) {
            super(message);
            this.osError = osError;
        }

        /** {@return the system's error number} */
        public int osError() {
            return osError;
        }
    }

    /** Anything else that the system reported. */
    public static final class Io extends AetherException {
        @Serial
        private static final long serialVersionUID = 1;

        /** The system's error number. */
        private final int osError;

        Io(String message, int osError) {
            super(message);
            this.osError = osError;
        }

        /** {@return the system's error number} */
        public int osError() {
            return osError;
        }
    }

    /** A bug in this library. */
    public static final class Internal extends AetherException {
        @Serial
        private static final long serialVersionUID = 1;

        Internal(String message) {
            super(message);
        }
    }
}
