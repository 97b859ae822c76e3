package com.aether.ipc;

import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;

/** Prints the messages of the ring, until no producer is there any more: FILE */
final class ProcessConsumer {
    private ProcessConsumer() {}

    public static void main(String[] arguments) throws Exception {
        try (AetherBuffer buffer = AetherBuffer.connect(Path.of(arguments[0]), Duration.ofSeconds(60));
                AetherConsumer consumer = new AetherConsumer(buffer)) {
            System.out.println("ready");
            consumer.await();
            consumer.requireProducer(true);
            while (true) {
                consumer.drain((id, type, payload) -> {
                    byte[] bytes = payload.toArray(ValueLayout.JAVA_BYTE);
                    System.out.println(new String(bytes, StandardCharsets.UTF_8));
                    return true;
                }, 1000);
                try {
                    consumer.await();
                } catch (AetherException.Closed end) {
                    return;
                }
            }
        }
    }
}
