import com.aether.ipc.AetherBuffer;
import com.aether.ipc.AetherConsumer;
import com.aether.ipc.AetherProducer;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/** Sends a message to itself: Quickstart FILE */
class Quickstart {
    public static void main(String[] arguments) throws Exception {
        try (AetherBuffer buffer = new AetherBuffer(Path.of(arguments[0]), 4096);
                AetherProducer producer = new AetherProducer(buffer);
                AetherConsumer consumer = new AetherConsumer(buffer)) {
            producer.put(1, 7, "hello".getBytes(StandardCharsets.UTF_8));
            consumer.poll((id, type, payload) -> {
                byte[] text = payload.toArray(ValueLayout.JAVA_BYTE);
                System.out.println(id + " " + type + " " + new String(text, StandardCharsets.UTF_8));
                return true;
            });
        }
    }
}
