<?php
// A plug-in of the scenes: it says what WordPress saw, purges as plug-ins for caches do, and keeps a small cart.

// Which turn made this response, and what WordPress saw of the visitor.
header('X-Served: ' . getmypid() . '-' . hrtime(true));
header('X-Saw: ' . ($_SERVER['REQUEST_URI'] ?? '') . ' cookies=' . implode(',', array_keys($_COOKIE)));

add_filter('pre_option_permalink_structure', fn () => '/%postname%/');

add_filter('comment_flood_filter', '__return_false', 99);  // the tests comment in less than 15 seconds

// As "Proxy Cache Purge" does it: after a change, PURGE the post and the pages that show it, from this machine.
function scene_purge(int $post): void {
    $port = @file_get_contents(ABSPATH . 'purge-port');
    if (!$port || get_post_status($post) !== 'publish') {
        return;
    }
    foreach ([get_permalink($post), home_url('/'), get_feed_link()] as $url) {
        wp_remote_request("http://127.0.0.1:$port" . wp_parse_url($url, PHP_URL_PATH),
            ['method' => 'PURGE', 'headers' => ['Host' => wp_parse_url($url, PHP_URL_HOST)]]);
    }
}
add_action('save_post', 'scene_purge');
add_action('wp_set_comment_status', fn ($comment) => scene_purge((int) get_comment($comment)->comment_post_ID));

// The names and the times at which WooCommerce sets its cookies.
add_action('template_redirect', function (): void {
    if (!isset($_GET['add-to-cart'])) {
        return;
    }
    setcookie('woocommerce_items_in_cart', '1', 0, '/');
    setcookie('woocommerce_cart_hash', md5($_GET['add-to-cart']), 0, '/');
    setcookie('wp_woocommerce_session_' . COOKIEHASH, urlencode('t_' . bin2hex(random_bytes(8))), time() + 172800, '/');
});
