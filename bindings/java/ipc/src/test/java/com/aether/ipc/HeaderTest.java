package com.aether.ipc;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.StructLayout;
import java.nio.file.Files;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.MatchResult;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

/** What the binding says of {@code aether.h} stands there. */
class HeaderTest {
    private final String header = read();

    private static String read() {
        try {
            return Files.readString(Support.repository("crates/aether-capi/include/aether.h"))
                    .replaceAll("(?m)^\\s*///.*$", "");
        } catch (IOException problem) {
            throw new AssertionError(problem);
        }
    }

    private static int sizeOf(String type) {
        return switch (type.replace("const ", "")) {
            case "int64_t", "uint64_t", "size_t", "void *", "char *" -> 8;
            case "int32_t", "uint32_t", "aether_status" -> 4;
            case "uint8_t" -> 1;
            default -> throw new AssertionError("what is the size of " + type + "?");
        };
    }

    /** Offsets by name, as a C compiler lays them out, and the size at the end. */
    private Map<String, Long> struct(String name) {
        Matcher body = Pattern.compile("typedef struct \\{([^}]*)\\} " + name + ";").matcher(header);
        assertTrue(body.find(), name);
        Map<String, Long> offsets = new LinkedHashMap<>();
        long end = 0;
        long alignment = 1;
        Matcher field = Pattern.compile("\\s*([\\w ]+?[ *]+)(\\w+)(?:\\[(\\d+)\\])?;").matcher(body.group(1));
        while (field.find()) {
            int size = sizeOf(field.group(1).strip());
            alignment = Math.max(alignment, size);
            end = (end + size - 1) / size * size;
            offsets.put(field.group(2), end);
            end += size * (field.group(3) == null ? 1 : Long.parseLong(field.group(3)));
        }
        offsets.put("(size)", (end + alignment - 1) / alignment * alignment);
        return offsets;
    }

    @Test
    void structs_are_laid_out_as_in_c() {
        for (MemoryLayout layout : List.of(
                Native.OPTIONS,
                Native.MESSAGE,
                Native.DIRECT,
                Native.WINDOW,
                Native.ERROR,
                Native.PRODUCER_STATS,
                Native.CONSUMER_STATS)) {
            Map<String, Long> found = new LinkedHashMap<>();
            for (MemoryLayout member : ((StructLayout) layout).memberLayouts()) {
                member.name().ifPresent(name ->
                        found.put(name, layout.byteOffset(PathElement.groupElement(name))));
            }
            // Names of pointers were taken by the layout that they share.
            found.put("(size)", layout.byteSize());
            assertEquals(struct(layout.name().orElseThrow()), found, layout.name().orElseThrow());
        }
    }

    private int constant(String name) {
        Matcher found = Pattern.compile("(?m)^#define " + name + " (\\d+)$").matcher(header);
        assertTrue(found.find(), name);
        return Integer.parseInt(found.group(1));
    }

    @Test
    void constants_are_those_of_c() {
        assertEquals(constant("AETHER_HEADER_SIZE"), Native.HEADER_SIZE);
        assertEquals(constant("AETHER_ALIGNMENT"), Native.ALIGNMENT);
        assertEquals(constant("AETHER_ASLEEP"), Native.ASLEEP);
        assertEquals(constant("AETHER_ABI"), Native.ABI);
    }

    private Map<String, Integer> enumOf(String prefix) {
        Map<String, Integer> values = new LinkedHashMap<>();
        for (MatchResult found : Pattern.compile(prefix + "(\\w+) = (\\d+)").matcher(header).results().toList()) {
            values.put(found.group(1), Integer.parseInt(found.group(2)));
        }
        return values;
    }

    private static <E extends Enum<E>> Map<String, Integer> ordinals(E[] values) {
        Map<String, Integer> ordinals = new LinkedHashMap<>();
        for (E value : values) {
            ordinals.put(value.name(), value.ordinal());
        }
        return ordinals;
    }

    @Test
    void enumerations_have_the_numbers_of_c() {
        assertEquals(enumOf("AETHER_WAIT_"), ordinals(Wait.values()));
        assertEquals(enumOf("AETHER_MERGE_"), ordinals(Merge.values()));
        assertEquals(enumOf("AETHER_OVERFLOW_"), ordinals(Overflow.values()));
    }

    @Test
    void every_status_has_its_exception() {
        Map<String, Integer> statuses = enumOf("AETHER_STATUS_");
        assertTrue(statuses.size() > 20, statuses::toString);
        assertEquals(Native.OK, statuses.remove("OK"));
        assertEquals(Native.FULL, statuses.remove("FULL"));
        assertEquals(Native.TIMED_OUT, statuses.get("TIMED_OUT"));
        List<String> arguments = List.of("CAPACITY", "ARGUMENT", "LAYOUT");
        // Of records that this binding wrote by itself.
        assertEquals(24, statuses.remove("RECORD"));
        statuses.forEach((name, number) -> {
            RuntimeException exception = AetherException.of(number, "words", 28, 3, 64, 48);
            String expected =
                    arguments.contains(name) ? "IllegalArgumentException" : name.toLowerCase().replace("_", "");
            assertEquals(
                    expected.toLowerCase(), exception.getClass().getSimpleName().toLowerCase(), "status " + number);
        });
        assertEquals(48, ((AetherException.Lagged) AetherException.of(7, "", 28, 3, 64, 48)).bytes());
        assertEquals(3, ((AetherException.Corrupt) AetherException.of(8, "", 28, 3, 64, 48)).lane());
        assertEquals(64, ((AetherException.Corrupt) AetherException.of(8, "", 28, 3, 64, 48)).position());
        assertEquals(28, ((AetherException.NoSpace) AetherException.of(21, "", 28, 3, 64, 48)).osError());
        assertEquals(28, ((AetherException.Io) AetherException.of(22, "", 28, 3, 64, 48)).osError());
        assertEquals("words", AetherException.of(17, "words", 0, 0, 0, 0).getMessage());
    }
}
