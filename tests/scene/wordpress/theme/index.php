<?php
// One template for every page: whom it greets, posts with their comments and the comments' form.
?>
<!doctype html>
<html><head><?php wp_enqueue_style('scene', get_stylesheet_uri(), [], '1.0'); wp_head(); ?></head>
<body>
<h1>Hello <?php echo is_user_logged_in() ? esc_html(wp_get_current_user()->display_name) : 'stranger'; ?></h1>
<?php if (is_search()) { echo '<p>Found for ', get_search_query(), '</p>'; } ?>
<p>In your cart: <?php echo esc_html($_COOKIE['woocommerce_items_in_cart'] ?? 'nothing'); ?></p>
<?php
while (have_posts()) {
    the_post();
    the_title('<h2>', '</h2>');
    the_content();
    if (is_singular()) {
        comments_template();
    }
}
wp_footer();
?>
</body></html>
