import java.nio.file.Path;
import org.neo4j.configuration.GraphDatabaseSettings;
import org.neo4j.configuration.connectors.BoltConnector;
import org.neo4j.configuration.helpers.SocketAddress;
import org.neo4j.dbms.api.DatabaseManagementServiceBuilder;

/**
 * A Neo4j server for tests and the demo. Arguments: the folder of its data, the port of Bolt on 127.0.0.1.
 * It prints "ready", serves with authentication on, and ends when its standard input ends: it never outlives its owner.
 */
public class Neo4jServer {
    public static void main(String[] args) throws Exception {
        var address = new SocketAddress("127.0.0.1", Integer.parseInt(args[1]));
        var service = new DatabaseManagementServiceBuilder(Path.of(args[0]))
            .setConfig(GraphDatabaseSettings.auth_enabled, true)
            // No pause after three wrong passwords: it would keep out those who know the right one.
            .setConfig(GraphDatabaseSettings.auth_max_failed_attempts, 0)
            .setConfig(GraphDatabaseSettings.pagecache_memory, 128L << 20)
            .setConfig(BoltConnector.enabled, true)
            .setConfig(BoltConnector.listen_address, address)
            .build();
        System.out.println("ready");
        while (System.in.read() >= 0) {
            // Nothing is said to it; the read ends when the owner closes the pipe, or dies.
        }
        service.shutdown();
        System.exit(0);
    }
}
