package com.aether.ipc;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/** Creates the ring if there is none and puts messages into it: FILE CAPACITY COUNT, all numbers from 0 if COUNT is 0. */
final class ProcessProducer {
    private ProcessProducer() {}

    public static void main(String[] arguments) throws Exception {
        long count = Long.parseLong(arguments[2]);
        try (AetherBuffer buffer = new AetherBuffer(Path.of(arguments[0]), Integer.parseInt(arguments[1]));
                AetherProducer producer = new AetherProducer(buffer)) {
            System.out.println("ready");
            for (long id = 0; count == 0 || id < count; id++) {
                producer.put(id, 1, Long.toString(id).getBytes(StandardCharsets.UTF_8));
            }
        }
    }
}
