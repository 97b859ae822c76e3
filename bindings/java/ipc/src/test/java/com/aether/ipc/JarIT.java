package com.aether.ipc;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.aether.ipc.Support.Child;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.jar.JarFile;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The jars as their users have them. */
class JarIT {
    private static final String JAR = System.getProperty("jar");

    @TempDir
    Path folder;

    private List<String> quickstart(String... options) {
        List<String> command = new java.util.ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.addAll(List.of(options));
        command.add(Support.repository("bindings/java/examples/Quickstart.java").toString());
        command.add(folder.resolve("ring").toString());
        try (Child child = new Child(command)) {
            List<String> lines = child.end();
            assertEquals("", child.errors());
            return lines;
        } catch (Exception problem) {
            throw new AssertionError(problem);
        }
    }

    @Test
    void the_example_runs_on_the_module_path() {
        assertEquals(List.of("1 7 hello"), quickstart(
                "--module-path", JAR, "--add-modules", "com.aether.ipc", "--enable-native-access=com.aether.ipc"));
    }

    @Test
    void the_example_runs_on_the_class_path() {
        assertEquals(List.of("1 7 hello"), quickstart("--class-path", JAR, "--enable-native-access=ALL-UNNAMED"));
    }

    @Test
    void sources_and_documentation_have_jars_of_their_own() throws Exception {
        try (JarFile sources = new JarFile(JAR.replace(".jar", "-sources.jar"));
                JarFile documentation = new JarFile(JAR.replace(".jar", "-javadoc.jar"))) {
            assertTrue(sources.getEntry("com/aether/ipc/AetherBuffer.java") != null);
            assertTrue(documentation.stream().anyMatch(entry -> entry.getName().endsWith("AetherBuffer.html")));
        }
        String pom = Files.readString(Support.repository("bindings/java/pom.xml"));
        for (String wanted : List.of("<url>", "<licenses>", "<developers>", "<scm>", "<description>")) {
            assertTrue(pom.contains(wanted), wanted);
        }
    }
}
